"""Promotion: only what was accepted, on the evidence it was accepted on, with a bundle that opens."""

from pathlib import Path

import msgspec
import pytest

from mlops_assets.errors import ApprovalRefused, BundleError, GateFailed, PartitionMissing
from mlops_assets.inference.promotion import promote
from mlops_assets.products.gates import (
    at_least,
    at_most,
    bundle_size,
    latency_p99,
    leakage_probe,
    not_worse_than_champion,
    onnx_parity,
    slice_gap,
)
from mlops_assets.products.periods import days
from mlops_assets.products.policy import manual
from mlops_assets.stores.approvals import Verdict
from mlops_assets.stores.clock import ReplayClock
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import MODEL
from mlops_assets.testing import report as reports
from mlops_assets.testing.acceptance import AcceptanceState
from mlops_assets.testing.leakage import Leakage
from mlops_assets.testing.run import accept_partition, answer_version
from mlops_assets.testing.slices import Slice
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
        f"version 2 of taxi has other reports or another bundle than were accepted. Materialise taxi/acceptance for {KEY}",
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
    changed(home, PRODUCT, "acceptance", accept_partition(PRODUCT, home, KEY))

    refused(home, BundleError, "version 2 of taxi was trained on other feature definitions")


def test_a_version_whose_bundle_was_replaced_since_it_was_accepted_is_not_deployed(home):
    manifest = home.bundle("taxi", 2) / "manifest.json"
    manifest.write_text(manifest.read_text() + " ")

    refused(home, GateFailed, "has other reports or another bundle than were accepted")


MANUAL = a_product(acceptance=manual(valid_for=days(7)))


def test_a_version_that_waits_for_a_person_is_not_deployed_whatever_its_record_says(home):
    record = accept_partition(MANUAL, home, KEY)
    lie = msgspec.structs.replace(record, accepted=True, state=AcceptanceState.ACCEPTED, by="mallory")
    changed(home, MANUAL, "acceptance", lie)

    with pytest.raises(GateFailed, match="is not accepted: waits for a person, as in: mlops approve taxi 2 --by NAME"):
        promote(MANUAL, home, KEY, "run 2")
    assert home.ledger.champion("taxi").version == 1


def test_an_approved_version_is_deployed_in_the_name_of_who_approved_it(home):
    answer_version(MANUAL, home, 2, Verdict.APPROVED, "ana", "slices look right")
    changed(home, MANUAL, "acceptance", accept_partition(MANUAL, home, KEY))

    deployment = promote(MANUAL, home, KEY, "run 2").deployment

    assert (deployment.version, deployment.by, deployment.reason) == (2, "ana", "approved by ana: slices look right")


def test_an_approval_that_ended_lets_nothing_go_live_any_more(home):
    answer_version(MANUAL, home, 2, Verdict.APPROVED, "ana", "slices look right")
    changed(home, MANUAL, "acceptance", accept_partition(MANUAL, home, KEY))
    ReplayClock(home.clock_file).set(january(16))

    with pytest.raises(GateFailed, match=r"waits for a person.*the answer of ana at 2020-01-09 00:00 ended"):
        promote(MANUAL, home, KEY, "run 2")


def test_an_approval_of_reports_that_were_made_again_does_not_count(home):
    answer_version(MANUAL, home, 2, Verdict.APPROVED, "ana", "slices look right")
    changed(home, MANUAL, "test_report", a_test_report(2, roc_auc=0.79))

    record = accept_partition(MANUAL, home, KEY)

    assert record.state is AcceptanceState.WAITING
    assert "was given on another test_report" in record.reason


def test_a_rejected_version_says_by_whom_and_why(home):
    answer_version(MANUAL, home, 2, Verdict.REJECTED, "ben", "blind at night")

    record = accept_partition(MANUAL, home, KEY)

    assert (record.state, record.accepted, record.by) == (AcceptanceState.REJECTED, False, "ben")
    assert record.reason == "rejected by ben: blind at night"


@pytest.mark.parametrize(
    ("product", "version", "sentence"),
    [
        (PRODUCT, 2, "acceptance of taxi is automatic"),
        (MANUAL, 1, "version 1 of taxi was trained again for 2020-01-09 as version 2"),
    ],
)
def test_what_waits_for_nobody_cannot_be_answered(home, product, version, sentence):
    with pytest.raises(ApprovalRefused, match=sentence):
        answer_version(product, home, version, Verdict.APPROVED, "ana", "why")


def test_nobody_can_approve_what_failed_a_gate(home):
    changed(home, MANUAL, "test_report", a_test_report(2, roc_auc=0.5))

    with pytest.raises(ApprovalRefused, match=r"cannot be answered: failed: roc_auc 0.5 < 0.6"):
        answer_version(MANUAL, home, 2, Verdict.APPROVED, "ana", "it will do")


def test_a_partition_that_was_never_accepted_is_not_deployed(home):
    home.documents.path("taxi", "acceptance", KEY).unlink()

    refused(home, PartitionMissing, f"taxi/acceptance has no stored partition for {KEY}")


EVERY_GATE = a_product(
    gates=(
        at_least("roc_auc", 0.6),
        at_most("log_loss", 0.6),
        not_worse_than_champion("roc_auc", margin=0.01),
        slice_gap("origin", "roc_auc", at_most=0.1),
        onnx_parity(1e-5),
        leakage_probe(0.9),
        bundle_size(megabytes=1),
        latency_p99(milliseconds=50),
    )
)
GOOD = msgspec.structs.replace(
    a_test_report(2),
    scores=(reports.Scored("roc_auc", 0.8, 0.7, 0.9), reports.Scored("log_loss", 0.5, 0.4, 0.6)),
    slices=(Slice("origin", "JFK", 300, "roc_auc", 0.75, 0.05),),
    comparisons=(reports.Comparison(1, "roc_auc", 0.01, 0.0, 0.02, 0.9),),
    leakage=Leakage({"distance": 0.5}, 0),
    bundle_bytes=900_000,
)


def broken(asset: str, **changes: object) -> tuple[str, msgspec.Struct]:
    base = GOOD if asset == "test_report" else a_staging_report(2)
    return asset, msgspec.structs.replace(base, **changes)


def with_every_gate(home: Home, asset: str, report: msgspec.Struct) -> None:
    changed(home, EVERY_GATE, "test_report", GOOD)
    changed(home, EVERY_GATE, asset, report)
    changed(home, EVERY_GATE, "acceptance", accept_partition(EVERY_GATE, home, KEY))


def test_a_version_that_keeps_every_gate_is_deployed(home):
    with_every_gate(home, "test_report", GOOD)

    assert promote(EVERY_GATE, home, KEY, "run 2").deployment.reason == "all 8 gates passed"


@pytest.mark.parametrize(
    ("gate", "report"),
    [
        ("roc_auc_at_least_0_6", broken("test_report", scores=(reports.Scored("roc_auc", 0.59, 0, 1), GOOD.scores[1]))),
        (
            "log_loss_at_most_0_6",
            broken("test_report", scores=(GOOD.scores[0], reports.Scored("log_loss", 0.61, 0, 1))),
        ),
        (
            "roc_auc_not_worse_than_champion",
            broken("test_report", comparisons=(reports.Comparison(1, "roc_auc", 0.0, -0.011, 0.02, 0.9),)),
        ),
        ("roc_auc_gap_by_origin", broken("test_report", slices=(Slice("origin", "JFK", 300, "roc_auc", 0.69, 0.11),))),
        ("onnx_parity", broken("test_report", onnx_difference=1.1e-5)),
        ("leakage_probe", broken("test_report", leakage=Leakage({"distance": 0.91}, 0))),
        ("leakage_probe", broken("test_report", leakage=Leakage({"distance": 0.5}, 1))),
        ("bundle_size", broken("test_report", bundle_bytes=1_000_001)),
        ("latency_p99", broken("staging_report", p99_milliseconds=50.1)),
        ("online_equals_offline", broken("staging_report", skew=1.1e-5)),
        ("refuses_a_bad_request", broken("staging_report", refused_bad_request=False)),
        ("same_version", broken("staging_report", version=1)),
    ],
)
def test_one_broken_gate_is_enough_to_keep_a_version_from_being_deployed(home, gate, report):
    with_every_gate(home, *report)

    record = accept_partition(EVERY_GATE, home, KEY)

    assert [result.gate for result in record.gates if not result.passed] == [gate]
    with pytest.raises(GateFailed, match="is not accepted: failed: "):
        promote(EVERY_GATE, home, KEY, "run 2")
    assert home.ledger.champion("taxi").version == 1
