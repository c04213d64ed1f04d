"""Whether Dagster shows a partition as stale, which no public part of it says outside of its server.

The extra `dev` bounds Dagster's version because of the two private imports."""

from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from mlops_assets.replay.runs import Replay
from resources.asset_parts import key_of
from tests.dagster.builders import FIRST_WEEK


def is_stale(replay: Replay, asset: str, week: str = FIRST_WEEK) -> bool:
    graph = replay.definitions.get_repository_def().asset_graph
    resolver = CachingStaleStatusResolver(replay.instance, graph, LoadingContextForTest(replay.instance))
    return resolver.get_status(key_of(replay.product, asset), week) == StaleStatus.STALE
