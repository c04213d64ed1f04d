"""Rollback: the version before serves again, further back each time, and nothing changes where it cannot."""

import pytest

from mlops_assets.errors import BundleError, DeclarationError, NoChampion
from mlops_assets.inference.rollback import roll_back, version_before
from mlops_assets.state.ledger import Deployment
from mlops_assets.state.manifest import MODEL
from mlops_assets.state.workspace import ProductState, Workspace
from tests.unit.testing.builders import a_bundle
from tests.unit.training.builders import a_product, january

PRODUCT = a_product()


def deployed(version: int) -> Deployment:
    return Deployment(1, version, "2020-01-01", january(1), "gates passed", "automatic")


@pytest.fixture
def state(workspace: Workspace) -> ProductState:
    """Versions 1, 2 and 3 served, one after the other."""
    state = workspace.of(PRODUCT)
    for version in (1, 2, 3):
        a_bundle(state, version)
        state.ledger.deploy(
            version, f"2020-01-{version:02}", january(version), reason="gates passed", by="automatic", after=version - 1
        )
    workspace.replay_clock.set(january(9))
    return state


def test_the_champion_before_serves_again_with_reason_and_name(state):
    done = roll_back(state, to=None, by="ana", reason="late flights are missed")

    champion = state.ledger.champion()
    assert done.deployment == champion
    assert (champion.version, champion.partition, champion.deployed_at) == (2, "2020-01-02", january(9))
    assert champion.reason == "rolled back from version 3: late flights are missed"
    assert (champion.by, done.former.version) == ("ana", 3)


def test_going_back_twice_goes_further_back(state):
    for expected in (2, 1):
        assert roll_back(state, to=None, by="ana", reason="again").deployment.version == expected

    with pytest.raises(DeclarationError, match="nothing served taxi before version 1"):
        roll_back(state, to=None, by="ana", reason="again")


@pytest.mark.parametrize(
    ("served", "before"),
    [
        ([], None),
        ([1], None),
        ([1, 2], 1),
        ([1, 2, 1], None),
        ([1, 2, 3, 2], 1),
        ([1, 2, 3, 2, 4], 2),
        ([1, 2, 3, 1, 4], 1),
        ([1, 2, 2], 1),
    ],
)
def test_the_version_before_is_the_one_that_served_before_the_present_one_came(served, before):
    assert version_before([deployed(version) for version in served]) == before


def test_any_version_that_served_can_be_named(state):
    assert roll_back(state, to=1, by="ana", reason="best in winter").deployment.version == 1


@pytest.mark.parametrize(
    ("to", "reason", "error"),
    [
        (9, "why", r"version 9 of taxi never served. Known: 1, 2, 3"),
        (3, "why", "version 3 of taxi serves already, since 2020-01-03"),
        (1, " ", "a rollback needs a reason"),
    ],
)
def test_a_rollback_that_cannot_be_changes_nothing(state, to, reason, error):
    with pytest.raises(DeclarationError, match=error):
        roll_back(state, to=to, by="ana", reason=reason)

    assert state.ledger.champion().version == 3


def test_a_bundle_that_does_not_open_does_not_come_back(state):
    state.workspace.objects.put(f"bundles/taxi/2/{MODEL}", b"damaged")

    with pytest.raises(BundleError):
        roll_back(state, to=None, by="ana", reason="why")

    assert state.ledger.champion().version == 3


def test_where_nothing_serves_there_is_nothing_to_roll_back(workspace):
    with pytest.raises(NoChampion):
        roll_back(workspace.of(PRODUCT), to=None, by="ana", reason="why")
