"""Promotion: only what was accepted, on the evidence it was accepted on, with a bundle that opens."""

from pathlib import Path

import msgspec
import pytest

from mlops_assets.errors import BundleError, GateFailed, PartitionMissing
from mlops_assets.inference.promotion import promote
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import MODEL
from tests.unit.testing.builders import KEY, a_staging_report, a_test_report, a_tested_version, changed
from tests.unit.training.builders import a_product, january

PRODUCT = a_product()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Version 1 serves, version 2 was tested and accepted."""
    home = Home(tmp_path)
    a_tested_version(home, PRODUCT, january(8), version=1)
    promote(PRODUCT, home, KEY, "run 1")
    a_tested_version(home, PRODUCT, january(9), version=2)
    return home


def refused(home: Home, error: type[Exception], sentence: str) -> None:
    """The promotion is refused, and the champion stays."""
    before = home.ledger.history("taxi")
    with pytest.raises(error, match=sentence):
        promote(PRODUCT, home, KEY, "run 2")
    assert home.ledger.history("taxi") == before
    assert home.ledger.champion("taxi").version == 1


def test_an_accepted_version_becomes_champion_with_reason_and_run(home):
    promotion = promote(PRODUCT, home, KEY, "run 2")

    assert promotion.former == 1
    assert home.ledger.champion("taxi") == promotion.deployment
    deployment = promotion.deployment
    assert (deployment.version, deployment.partition, deployment.deployed_at) == (2, KEY, january(9))
    assert (deployment.reason, deployment.by, deployment.run_id) == ("all 5 gates passed", "automatic", "run 2")
    assert Path(deployment.bundle) == home.bundle("taxi", 2)


def test_the_first_champion_replaces_nobody(tmp_path: Path):
    home = Home(tmp_path)
    a_tested_version(home, PRODUCT, january(9))

    assert home.ledger.history("taxi") == []
    assert promote(PRODUCT, home, KEY, "run 1").former is None
    assert home.ledger.champion("taxi").version == 1


def test_promoting_the_champion_again_changes_nothing(home):
    promote(PRODUCT, home, KEY, "run 2")

    again = promote(PRODUCT, home, KEY, "run 3")

    assert again.former == 2
    assert [deployment.run_id for deployment in home.ledger.history("taxi")] == ["run 1", "run 2"]


def test_a_version_that_failed_a_gate_is_not_deployed(home):
    a_tested_version(home, PRODUCT, january(9), version=3, roc_auc=0.59)

    refused(home, GateFailed, r"version 3 of taxi is not accepted: failed: roc_auc 0.59 < 0.6. The champion stays")


def test_a_version_that_fails_its_gates_now_is_not_deployed_though_it_was_accepted(home):
    changed(home, PRODUCT, "test_report", a_test_report(2, roc_auc=0.5))

    refused(home, GateFailed, "is not accepted: failed: roc_auc 0.5 < 0.6")


@pytest.mark.parametrize(
    ("asset", "report"),
    [
        ("test_report", a_test_report(2, roc_auc=0.9)),
        ("staging_report", msgspec.structs.replace(a_staging_report(2), rows=99)),
    ],
)
def test_a_version_whose_evidence_changed_since_is_not_deployed(home, asset, report):
    changed(home, PRODUCT, asset, report)

    refused(
        home,
        GateFailed,
        f"version 2 of taxi has other reports than were accepted. Materialise taxi/acceptance for {KEY}",
    )


@pytest.mark.parametrize(
    ("staging", "reason"),
    [
        ({"p99_milliseconds": 51.0}, "99 of 100 requests within 51.0 ms > 50 ms"),
        ({"skew": 1e-3}, "skew 1.0e-03"),
        ({"refused_bad_request": False}, "a bad request is refused"),
        ({"version": 1}, "model 2, test report 2, staging report 1"),
    ],
)
def test_what_staging_found_can_refuse_a_version(home, staging, reason):
    changed(home, PRODUCT, "staging_report", msgspec.structs.replace(a_staging_report(2), **staging))

    refused(home, GateFailed, f"not accepted: failed: {reason}")


def test_a_damaged_bundle_is_not_deployed(home):
    (home.bundle("taxi", 2) / MODEL).write_bytes(b"damaged")

    refused(home, BundleError, "model.onnx is damaged")


def test_a_version_of_other_feature_definitions_is_not_deployed(home):
    manifest = home.bundle("taxi", 2) / "manifest.json"
    manifest.write_text(manifest.read_text().replace(PRODUCT.fingerprint(), "0" * 16))

    refused(home, BundleError, "version 2 of taxi was trained on other feature definitions")


def test_a_partition_that_was_never_accepted_is_not_deployed(home):
    home.documents.path("taxi", "acceptance", KEY).unlink()

    refused(home, PartitionMissing, f"taxi/acceptance has no stored partition for {KEY}")
