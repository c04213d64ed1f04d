"""One really trained home for the session: eight weeks of history, a champion, one week served, labelled and decided."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mlops_assets.products.policy import Action, manual
from mlops_assets.replay.runs import Replay, failure_of
from tests.dagster.builders import (
    SERVED_WEEK,
    Webhook,
    a_decision,
    a_replay,
    a_small_product,
    a_webhook,
    decide,
    develop_and_serve,
    materialized,
)

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
    with a_replay(a_small_product(), tmp_path_factory.mktemp("trained") / "home") as replay:
        develop_and_serve(replay)
        yield replay


@pytest.fixture(scope="session")
def waiting(trained: Replay, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose drift decision was carried out up to the acceptance, which waits for a person. Shared and read only."""
    root = tmp_path_factory.mktemp("waiting") / "home"
    shutil.copytree(trained.state.workspace.home, root)
    with a_replay(replace(trained.product, acceptance=manual()), root) as replay:
        decide(replay.state, replay.instance, a_decision(SERVED_WEEK, Action.RETRAIN))
        (retrained,) = replay.tick("drift")
        assert retrained.success, failure_of(retrained)
        assert materialized(retrained) == {"training_set", "model", "test_report", "staging_report", "acceptance"}
    return root


@pytest.fixture
def replay(trained: Replay, tmp_path: Path) -> Iterator[Replay]:
    """A copy of the trained home, to be changed."""
    shutil.copytree(trained.state.workspace.home, tmp_path / "home")
    with a_replay(trained.product, tmp_path / "home") as copy:
        copy.cursors = dict(trained.cursors)
        yield copy


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with a_webhook() as listening:
        yield listening
