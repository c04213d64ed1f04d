"""Promotion: only what was accepted, on the evidence it was accepted on, with a bundle that opens."""

from collections.abc import Callable

import msgspec
import narwhals as nw
import pytest

from mlops_assets.errors import ApprovalRefused, BundleError, GateFailed, PartitionMissing, StaleVersion
from mlops_assets.inference.promotion import promote, refuse_to_go_back
from mlops_assets.inference.rollback import roll_back
from mlops_assets.products.feature_view import Feature, FeatureKind, FeatureView
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
from mlops_assets.records import testing as reports
from mlops_assets.records.acceptance import AcceptanceRecord, AcceptanceState, Verdict
from mlops_assets.records.testing import Leakage, Slice
from mlops_assets.state.ledger import Deployment
from mlops_assets.state.manifest import MANIFEST, MODEL
from mlops_assets.state.workspace import ProductState, Workspace
from mlops_assets.testing.run import accept_partition, answer_version
from tests.unit.testing.builders import KEY, a_staging_report, a_test_report, a_tested_version
from tests.unit.training.builders import a_product, january

PRODUCT = a_product()


@pytest.fixture
def state(workspace: Workspace) -> ProductState:
    """Version 1 serves, version 2 was tested and accepted."""
    state = workspace.of(PRODUCT)
    a_tested_version(state, january(8), version=1)
    promote(state, KEY, "run 1")
    a_tested_version(state, january(9), version=2)
    return state


def refused(state: ProductState, error: type[Exception], sentence: str) -> None:
    """The promotion is refused, and the champion stays."""
    before = state.ledger.history()
    with pytest.raises(error, match=sentence):
        promote(state, KEY, "run 2")
    assert state.ledger.history() == before
    assert state.ledger.champion().version == 1


def test_an_accepted_version_becomes_champion_with_reason_and_run(state):
    promotion = promote(state, KEY, "run 2")

    assert promotion.former == 1
    assert state.ledger.champion() == promotion.deployment
    deployment = promotion.deployment
    assert (deployment.version, deployment.partition, deployment.deployed_at) == (2, KEY, january(9))
    assert (deployment.reason, deployment.by, deployment.run_id) == ("all 6 gates passed", "automatic", "run 2")


def test_the_first_champion_replaces_nobody(workspace):
    state = workspace.of(PRODUCT)
    a_tested_version(state, january(9))

    assert state.ledger.history() == []
    assert promote(state, KEY, "run 1").former is None
    assert state.ledger.champion().version == 1


def test_promoting_the_champion_again_changes_nothing(state):
    promote(state, KEY, "run 2")

    again = promote(state, KEY, "run 3")

    assert again.former == 2
    assert [deployment.run_id for deployment in state.ledger.history()] == ["run 1", "run 2"]


def test_a_version_that_was_rolled_back_does_not_come_back_by_materialising_its_partition_again(state):
    promote(state, KEY, "run 2")
    roll_back(state, to=1, by="ann", reason="it was too slow")

    refused(
        state,
        StaleVersion,
        "version 2 of taxi served from 2020-01-09 00:00 until it was replaced, and version 1 serves now "
        r"\(rolled back from version 2: it was too slow\)\. The champion stays\. To let it serve again, run "
        "`mlops rollback taxi --to 2 --reason",
    )


def test_a_version_that_was_flagged_for_rework_is_not_deployed(state):
    state.ledger.flag_for_rework(2, january(9), "12 % of rows moved")

    refused(
        state, StaleVersion, "version 2 of taxi was flagged for rework on 2020-01-09: 12 % of rows moved. The champion"
    )


def test_of_two_retrainings_that_end_out_of_order_the_newer_one_serves():
    champion = a_deployment(version=2, partition="2013-01-28")

    # the older partition was trained later, so its version is the higher one
    with pytest.raises(
        StaleVersion,
        match="version 3 of taxi, trained for 2013-01-21, is older than the champion, which is version 2 and",
    ):
        refuse_to_go_back(PRODUCT, [champion], [], 3, "2013-01-21")
    # of one partition, the version that was registered first
    with pytest.raises(
        StaleVersion, match="version 1 of taxi, trained for 2013-01-28, is older than the champion, which is version 2"
    ):
        refuse_to_go_back(PRODUCT, [champion], [], 1, "2013-01-28")

    refuse_to_go_back(PRODUCT, [champion], [], 3, "2013-01-28")
    refuse_to_go_back(PRODUCT, [champion], [], 3, "2013-02-04")


def a_deployment(version: int, partition: str) -> Deployment:
    return Deployment(1, version, partition, january(9), "gates passed", "automatic")


def test_a_version_that_failed_a_gate_is_not_deployed(state):
    a_tested_version(state, january(9), version=3, roc_auc=0.59)

    refused(state, GateFailed, r"version 3 of taxi is not accepted: failed: roc_auc 0.59 < 0.6. The champion stays")


def test_a_version_that_fails_its_gates_now_is_not_deployed_though_it_was_accepted(state):
    state.records.save(KEY, a_test_report(2, roc_auc=0.5))

    refused(state, GateFailed, "is not accepted: failed: roc_auc 0.5 < 0.6")


@pytest.mark.parametrize(
    "report", [a_test_report(2, roc_auc=0.9), a_staging_report(2, rows=99)], ids=lambda report: report.asset
)
def test_a_version_whose_evidence_changed_since_is_not_deployed(state, report):
    state.records.save(KEY, report)

    refused(
        state,
        GateFailed,
        "the reports or the bundle of version 2 of taxi changed after it was accepted. The champion stays. "
        f"Materialise taxi/acceptance for {KEY}",
    )


@pytest.mark.parametrize(
    ("staging", "reason"),
    [
        ({"p99_milliseconds": 51.0}, "99 of 100 requests within 51.0 ms > 50 ms"),
        ({"skew": 65.0}, "largest difference of 100 rows 65 float32 steps, limit 64"),
        ({"refused_bad_request": False}, "an unknown field was accepted"),
        ({"version": 1}, "model 2, test report 2, staging report 1"),
    ],
)
def test_what_staging_found_can_refuse_a_version(state, staging, reason):
    state.records.save(KEY, a_staging_report(**{"version": 2, **staging}))

    refused(state, GateFailed, f"not accepted: failed: {reason}")


def rewrite_manifest(state: ProductState, change: Callable[[str], str]) -> None:
    name = f"bundles/taxi/2/{MANIFEST}"
    state.workspace.objects.put(name, change(state.workspace.objects.get(name).decode()).encode())


def test_a_damaged_bundle_is_not_deployed(state):
    state.workspace.objects.put(f"bundles/taxi/2/{MODEL}", b"damaged")

    refused(state, BundleError, "model.onnx is damaged")


def test_a_version_of_other_feature_definitions_is_not_deployed(state):
    twice = FeatureView(
        "trip",
        (Feature("origin", nw.col("origin"), FeatureKind.CATEGORICAL), Feature("distance", nw.col("distance") * 2)),
    )
    now = state.workspace.of(a_product(features=(twice,)))

    refused(
        now,
        BundleError,
        "version 2 of taxi was trained on other feature values than the code now computes: feature 'distance'",
    )


def test_a_version_whose_bundle_was_replaced_since_it_was_accepted_is_not_deployed(state):
    rewrite_manifest(state, lambda text: text + " ")

    refused(state, GateFailed, "changed after it was accepted")


@pytest.fixture
def manual_state(state: ProductState) -> ProductState:
    """The same, and a person is asked."""
    return state.workspace.of(a_product(acceptance=manual(valid_for=days(7))))


def test_a_version_that_waits_for_a_person_is_not_deployed_whatever_its_record_says(manual_state):
    record = accept_partition(manual_state, KEY)
    lie = msgspec.structs.replace(record, accepted=True, state=AcceptanceState.ACCEPTED, by="mallory")
    manual_state.records.save(KEY, lie)

    with pytest.raises(GateFailed, match="is not accepted: waits for a person: mlops approve taxi 2 --by NAME"):
        promote(manual_state, KEY, "run 2")
    assert manual_state.ledger.champion().version == 1


def test_an_approved_version_is_deployed_in_the_name_of_who_approved_it(manual_state):
    answer_version(manual_state, 2, Verdict.APPROVED, "ana", "slices look right", "in a test")
    manual_state.records.save(KEY, accept_partition(manual_state, KEY))

    deployment = promote(manual_state, KEY, "run 2").deployment

    assert (deployment.version, deployment.by, deployment.reason) == (2, "ana", "approved by ana: slices look right")


def test_an_approval_that_ended_lets_nothing_go_live_any_more(manual_state):
    answer_version(manual_state, 2, Verdict.APPROVED, "ana", "slices look right", "in a test")
    manual_state.records.save(KEY, accept_partition(manual_state, KEY))
    manual_state.workspace.replay_clock.set(january(16))

    with pytest.raises(GateFailed, match=r"waits for a person.*the answer of ana at 2020-01-09 00:00 expired"):
        promote(manual_state, KEY, "run 2")


def test_an_approval_of_reports_that_were_made_again_does_not_count(manual_state):
    answer_version(manual_state, 2, Verdict.APPROVED, "ana", "slices look right", "in a test")
    manual_state.records.save(KEY, a_test_report(2, roc_auc=0.79))

    record = accept_partition(manual_state, KEY)

    assert record.state is AcceptanceState.WAITING
    assert "was given on another test_report" in record.reason


def test_a_rejected_version_says_by_whom_and_why(manual_state):
    answer_version(manual_state, 2, Verdict.REJECTED, "ben", "blind at night", "in a test")

    record = accept_partition(manual_state, KEY)

    assert (record.state, record.accepted, record.by) == (AcceptanceState.REJECTED, False, "ben")
    assert record.reason == "rejected by ben: blind at night"


@pytest.mark.parametrize(
    ("given", "version", "sentence"),
    [
        ("state", 2, "acceptance of taxi is automatic"),
        ("manual_state", 1, "version 1 of taxi was replaced: version 2 was trained for 2020-01-09 later"),
    ],
)
def test_what_waits_for_nobody_cannot_be_answered(request, given, version, sentence):
    with pytest.raises(ApprovalRefused, match=sentence):
        answer_version(request.getfixturevalue(given), version, Verdict.APPROVED, "ana", "why", "in a test")


def test_nobody_can_approve_what_failed_a_gate(manual_state):
    manual_state.records.save(KEY, a_test_report(2, roc_auc=0.5))

    with pytest.raises(ApprovalRefused, match=r"cannot be answered: failed: roc_auc 0.5 < 0.6"):
        answer_version(manual_state, 2, Verdict.APPROVED, "ana", "it will do", "in a test")


def test_a_partition_that_was_never_accepted_is_not_deployed(state):
    state.records.remove(AcceptanceRecord, KEY)

    refused(state, PartitionMissing, f"taxi/acceptance has no stored partition for {KEY}")


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


@pytest.fixture
def every_gate(state: ProductState) -> ProductState:
    """The same with every gate, each of which version 2 keeps."""
    strict = state.workspace.of(EVERY_GATE)
    strict.records.save(KEY, GOOD)
    return strict


def accepted_again(state: ProductState) -> AcceptanceRecord:
    state.records.save(KEY, accept_partition(state, KEY))
    return state.records.load(AcceptanceRecord, KEY)


def test_a_version_that_keeps_every_gate_is_deployed(every_gate):
    accepted_again(every_gate)

    assert promote(every_gate, KEY, "run 2").deployment.reason == "all 8 gates passed"


@pytest.mark.parametrize(
    ("gate", "report"),
    [
        (
            "roc_auc_at_least_0_6",
            msgspec.structs.replace(GOOD, scores=(reports.Scored("roc_auc", 0.59, 0, 1), GOOD.scores[1])),
        ),
        (
            "log_loss_at_most_0_6",
            msgspec.structs.replace(GOOD, scores=(GOOD.scores[0], reports.Scored("log_loss", 0.61, 0, 1))),
        ),
        (
            "roc_auc_not_worse_than_champion",
            msgspec.structs.replace(GOOD, comparisons=(reports.Comparison(1, "roc_auc", 0.0, -0.011, 0.02, 0.9),)),
        ),
        (
            "roc_auc_gap_by_origin",
            msgspec.structs.replace(GOOD, slices=(Slice("origin", "JFK", 300, "roc_auc", 0.69, 0.11),)),
        ),
        ("onnx_parity", msgspec.structs.replace(GOOD, onnx_difference=1.1e-5)),
        ("leakage_probe", msgspec.structs.replace(GOOD, leakage=Leakage({"distance": 0.91}, 0))),
        ("leakage_probe", msgspec.structs.replace(GOOD, leakage=Leakage({"distance": 0.5}, 1))),
        ("bundle_size", msgspec.structs.replace(GOOD, bundle_bytes=1_000_001)),
        ("latency_p99", a_staging_report(2, p99_milliseconds=50.1)),
        ("online_equals_offline", a_staging_report(2, skew=64.5)),
        ("refuses_a_bad_request", a_staging_report(2, refused_bad_request=False)),
        ("same_version", a_staging_report(1)),
    ],
)
def test_one_broken_gate_is_enough_to_keep_a_version_from_being_deployed(every_gate, gate, report):
    every_gate.records.save(KEY, report)

    record = accepted_again(every_gate)

    assert [result.gate for result in record.gates if not result.passed] == [gate]
    with pytest.raises(GateFailed, match="is not accepted: failed: "):
        promote(every_gate, KEY, "run 2")
    assert every_gate.ledger.champion().version == 1
