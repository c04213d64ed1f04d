"""Deployment ledger: append-only, its last line per product is the champion."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlops_assets.errors import NoChampion
from mlops_assets.stores.deployment_ledger import Deployment, DeploymentLedger, ReworkFlag

MONDAY = datetime(2013, 4, 22, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> DeploymentLedger:
    return DeploymentLedger(tmp_path / "new" / "deployments.sqlite")


def a_deployment(version: int, *, product: str = "p", days: int = 0) -> Deployment:
    at = MONDAY + timedelta(days=days)
    return Deployment(product, version, "2013-04-22", at, f"bundles/{version}", "better", "gate", "run")


def test_an_empty_ledger_has_no_champion_and_makes_no_file(ledger: DeploymentLedger, tmp_path: Path) -> None:
    with pytest.raises(NoChampion, match="Materialise p/deployment"):
        ledger.champion("p")

    assert (ledger.history("p"), ledger.position(), ledger.open_flag("p")) == ([], 0, None)
    assert not (tmp_path / "new").exists()


def test_the_last_deployment_is_the_champion_also_after_a_rollback(ledger: DeploymentLedger) -> None:
    for deployment in (a_deployment(1), a_deployment(2, days=7), a_deployment(1, days=8)):
        ledger.append(deployment)

    assert ledger.champion("p") == a_deployment(1, days=8)
    assert [deployment.version for deployment in ledger.history("p")] == [1, 2, 1]


def test_products_have_champions_of_their_own(ledger: DeploymentLedger) -> None:
    ledger.append(a_deployment(1, product="p"))
    ledger.append(a_deployment(7, product="q"))

    assert (ledger.champion("p").version, ledger.champion("q").version) == (1, 7)


@pytest.mark.parametrize(("days", "version"), [(-1, None), (0, 1), (6, 1), (7, 2), (400, 2)])
def test_who_served_at_a_moment_is_remembered(ledger: DeploymentLedger, days: int, version: int | None) -> None:
    ledger.append(a_deployment(1))
    ledger.append(a_deployment(2, days=7))

    served = ledger.champion_at("p", MONDAY + timedelta(days=days))

    assert (served.version if served else None) == version


def test_the_position_rises_with_every_deployment(ledger: DeploymentLedger) -> None:
    positions = []
    for version in (1, 2, 1):
        ledger.append(a_deployment(version))
        positions.append(ledger.position())

    assert positions == sorted(set(positions))


def test_a_rework_flag_stands_until_it_is_cleared(ledger: DeploymentLedger) -> None:
    ledger.flag_for_rework("p", 1, MONDAY, "12 % moved")
    ledger.flag_for_rework("p", 1, MONDAY + timedelta(days=7), "again")
    standing = ledger.open_flag("p")

    ledger.clear_rework("p", MONDAY + timedelta(days=9))

    assert standing == ReworkFlag("p", 1, MONDAY, "12 % moved", None)
    assert ledger.open_flag("p") is None
    assert [flag.cleared_at for flag in ledger.flags("p")] == [MONDAY + timedelta(days=9)]
