"""One really trained home for the session: eight weeks of history, a champion, one week served, labelled and decided."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_assets.demo.replay import Replay, expect_success
from tests.dagster.builders import FIRST_KEY, SERVED_WEEK, Webhook, a_replay, a_small_product, a_webhook

# warnings are errors, except these of other packages, which the runs of these tests pass through
WARNINGS = (
    # MLflow's store on SQLAlchemy 2.1
    "ignore:The ``noload`` loader strategy is deprecated",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for warning in WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    """Shared and read only: take `replay` to change something."""
    product = a_small_product()
    with a_replay(product, tmp_path_factory.mktemp("trained") / "home") as replay:
        first = product.period.at(FIRST_KEY)
        replay.at(first.start)
        arrived = replay.tick("new_data")
        replay.at(first.start + product.label.delay)
        arrived += replay.tick("labels")
        developed = replay.develop(FIRST_KEY, "first")
        replay.at(product.period.at(SERVED_WEEK).end)
        served = replay.tick("new_data")
        replay.at(product.period.at(SERVED_WEEK).end + product.label.delay)
        served += replay.tick("labels")
        for result in (*arrived, *developed, *served):
            expect_success(result)
        yield replay


@pytest.fixture
def replay(trained: Replay, tmp_path: Path) -> Iterator[Replay]:
    """A copy of the trained home, to be changed."""
    shutil.copytree(trained.home.root, tmp_path / "home")
    with a_replay(trained.product, tmp_path / "home") as copy:
        copy.cursors = dict(trained.cursors)
        yield copy


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with a_webhook() as listening:
        yield listening
