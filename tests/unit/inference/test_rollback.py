"""Rollback: the version before serves again, further back each time, and nothing changes where it cannot."""

from pathlib import Path

import pytest

from mlops_assets.errors import BundleError, DeclarationError, NoChampion
from mlops_assets.inference.rollback import roll_back, version_before
from mlops_assets.stores.clock import ReplayClock
from mlops_assets.stores.deployment_ledger import Deployment
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import MODEL
from tests.unit.testing.builders import a_bundle
from tests.unit.training.builders import a_product, january

PRODUCT = a_product()


def deployed(version: int, day: int = 1, home: Home | None = None) -> Deployment:
    folder = str(home.bundle("taxi", version)) if home else ""
    return Deployment("taxi", version, f"2020-01-{day:02}", january(day), folder, "gates passed", "automatic", "run")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Versions 1, 2 and 3 served, one after the other."""
    home = Home(tmp_path)
    for version in (1, 2, 3):
        a_bundle(home, PRODUCT, version)
        home.ledger.append(deployed(version, version, home))
    ReplayClock(home.clock_file).set(january(9))
    return home


def test_the_champion_before_serves_again_with_reason_and_name(home):
    done = roll_back(PRODUCT, home, to=None, by="ana", reason="late flights are missed")

    champion = home.ledger.champion("taxi")
    assert done.deployment == champion
    assert (champion.version, champion.partition, champion.deployed_at) == (2, "2020-01-02", january(9))
    assert champion.reason == "rolled back from version 3: late flights are missed"
    assert (champion.by, champion.bundle, done.former.version) == ("ana", str(home.bundle("taxi", 2)), 3)


def test_going_back_twice_goes_further_back(home):
    for expected in (2, 1):
        assert roll_back(PRODUCT, home, to=None, by="ana", reason="again").deployment.version == expected

    with pytest.raises(DeclarationError, match="nothing served taxi before version 1"):
        roll_back(PRODUCT, home, to=None, by="ana", reason="again")


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


def test_any_version_that_served_can_be_named(home):
    assert roll_back(PRODUCT, home, to=1, by="ana", reason="best in winter").deployment.version == 1


@pytest.mark.parametrize(
    ("to", "reason", "error"),
    [
        (9, "why", r"version 9 of taxi never served. Known: 1, 2, 3"),
        (3, "why", "version 3 of taxi serves already, since 2020-01-03"),
        (1, " ", "a rollback needs its reason"),
    ],
)
def test_a_rollback_that_cannot_be_changes_nothing(home, to, reason, error):
    with pytest.raises(DeclarationError, match=error):
        roll_back(PRODUCT, home, to=to, by="ana", reason=reason)

    assert home.ledger.champion("taxi").version == 3


def test_a_bundle_that_does_not_open_does_not_come_back(home):
    (home.bundle("taxi", 2) / MODEL).write_bytes(b"damaged")

    with pytest.raises(BundleError):
        roll_back(PRODUCT, home, to=None, by="ana", reason="why")

    assert home.ledger.champion("taxi").version == 3


def test_where_nothing_serves_there_is_nothing_to_roll_back(tmp_path):
    with pytest.raises(NoChampion):
        roll_back(PRODUCT, Home(tmp_path), to=None, by="ana", reason="why")
