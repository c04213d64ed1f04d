"""Upgrades: what earlier releases stored is read as what it meant.

samples/schema_0: records as the last release without schemas stored them, from runs of the platform. samples/schema_0_first: the
same without the fields that came after the first release. samples/schema_1, samples/schema_2: the same as later releases store them.
"""

import json
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mlops_assets.errors import DataError
from mlops_assets.records import testing as reports
from mlops_assets.records.acceptance import AcceptanceRecord, AcceptanceState, Approval
from mlops_assets.records.decisions import BacktestRecord, DriftDecision, ReworkBrief
from mlops_assets.records.readings import DriftRecord, PerformanceRecord, StalenessRecord
from mlops_assets.records.record import Record
from mlops_assets.records.training import ExperimentRun, Leaderboard, TrainingInputs
from mlops_assets.records.upgrades import UPGRADES
from mlops_assets.state.records import decoded, encoded

SAMPLES = Path(__file__).with_name("samples")
RENAMED = {
    DriftRecord: {"acts": "is_actionable", "by": "read_in"},
    PerformanceRecord: {"acts": "is_actionable", "by": "read_in", "alone": "unpooled_value"},
    StalenessRecord: {"acts": "is_actionable"},
    DriftDecision: {"alone_loss": "unpooled_loss"},
    reports.TestReport: {"alone": "skills"},
}
Kind = TypeVar("Kind", bound=Record)
every_kind = pytest.mark.parametrize("kind", UPGRADES, ids=lambda kind: kind.asset)


def sample(kind: type[Record], folder: str) -> bytes:
    return (SAMPLES / folder / f"{kind.asset}.json").read_bytes()


def read(kind: type[Kind], folder: str) -> Kind:
    return decoded(kind, sample(kind, folder), f"{folder}/{kind.asset}.json")


def stored(kind: type[Record], folder: str = "schema_0") -> Any:
    return json.loads(sample(kind, folder))


def test_every_kind_has_one_step_for_each_schema_before_its_own():
    kinds = [kind for kind in Record.__subclasses__() if kind.__module__.startswith("mlops_assets.")]

    assert {kind.asset: len(UPGRADES.get(kind, ())) for kind in kinds} == {kind.asset: kind.schema for kind in kinds}


@every_kind
def test_a_record_that_is_stored_today_has_the_form_of_its_schema(kind: type[Record]):
    """Fails when fields change: raise the schema, add a step, and store a sample of the new schema beside this one."""
    assert encoded(read(kind, f"schema_{kind.schema}")) == sample(kind, f"schema_{kind.schema}")


@every_kind
def test_a_record_is_the_same_under_every_schema(kind: type[Record]):
    records = [read(kind, f"schema_{number}") for number in range(kind.schema + 1)]

    assert records == [records[-1]] * len(records)


@every_kind
def test_nothing_that_a_record_without_a_schema_holds_is_lost(kind: type[Record]):
    bare = {ExperimentRun: "mlflow_run_id", BacktestRecord: "plans"}

    fields = {bare[kind]: stored(kind)} if kind in bare else stored(kind)
    for old, new in RENAMED.get(kind, {}).items():
        fields = json.loads(json.dumps(fields).replace(f'"{old}":', f'"{new}":'))

    assert json.loads(encoded(read(kind, "schema_0"))) == {**fields, "schema": kind.schema}


@pytest.mark.parametrize(
    ("accepted", "state"), [(True, AcceptanceState.ACCEPTED), (False, AcceptanceState.REFUSED)], ids=str
)
def test_an_acceptance_of_before_persons_were_waited_for_was_accepted_or_refused(accepted, state):
    first = stored(AcceptanceRecord, "schema_0_first") | {"accepted": accepted}

    for fields in (first, {**first, "state": None}):
        record = decoded(AcceptanceRecord, json.dumps(fields).encode(), "acceptance.json")

        assert (record.state, record.answers) == (state, 0)
        assert [gate.inconclusive for gate in record.gates] == [False] * 7


def test_a_state_that_was_stored_stays():
    waiting = stored(AcceptanceRecord) | {"accepted": False, "state": "waiting"}

    assert decoded(AcceptanceRecord, json.dumps(waiting).encode(), "").state is AcceptanceState.WAITING


def test_an_approval_of_before_answers_formed_a_chain_has_no_place_in_one():
    record = read(Approval, "schema_0_first")

    assert (record.number, record.previous, record.through) == (0, "", "")
    assert (record.by, record.signature[:8]) == ("ana", "5721abeb")


def test_an_experiment_of_before_settings_were_searched_tried_one_for_each_candidate():
    board = read(Leaderboard, "schema_0_first")

    assert (board.searched, board.ended_by) == ((), "")
    assert [(trial.bundle_bytes, trial.tried) for trial in board.trials] == [(None, 1)]
    assert board.best.candidate == "lightgbm"


def test_a_run_of_an_experiment_was_a_bare_text():
    assert read(ExperimentRun, "schema_0") == ExperimentRun("5228eb08c98b4959a69125eb3d666375")


def test_a_training_set_of_before_shifts_were_answered_had_the_usual_split():
    assert read(TrainingInputs, "schema_0_first").shift_since == ""


def test_a_test_report_says_nothing_of_what_was_not_measured_yet():
    report = read(reports.TestReport, "schema_0_first")

    assert (report.calibration_error, report.confusion, report.leakage, report.bundle_bytes) == (None,) * 4
    assert (report.worst_slices, report.slices_examined, report.parity_rows, report.flipped_labels) == ((), 0, 0, 0)
    assert report.value_of("roc_auc") == 0.6990822932782137


def test_a_staging_report_of_before_there_was_a_witness_has_no_latency_reading():
    report = read(reports.StagingReport, "schema_0_first")

    assert (report.latency, report.rows) == (None, 1_000)


def test_a_drift_reading_of_before_changes_were_read_is_of_values():
    fields = stored(DriftRecord, "schema_0_first")
    fields["reading"]["features"][0]["percent"] = 6.14

    reading = decoded(DriftRecord, json.dumps(fields).encode(), "").reading

    assert {feature.read_in for feature in reading.features} == {"values"}
    assert [feature.values_percent for feature in reading.features[:2]] == [6.14, 0.0]
    assert reading.prediction is None


def test_a_performance_reading_of_before_periods_were_pooled_is_of_one():
    reading = read(PerformanceRecord, "schema_0_first").reading

    assert (reading.periods, reading.natural_percent, reading.unpooled_value, reading.label) == (1, 0.0, None, None)
    assert reading.value == 0.6949237846245111


def test_a_label_reading_of_before_changes_were_read_is_of_values():
    fields = stored(PerformanceRecord)
    for later in ("by", "values_percent"):
        del fields["reading"]["label"][later]

    label = decoded(PerformanceRecord, json.dumps(fields).encode(), "").reading.label

    assert label is not None
    assert (label.read_in, label.values_percent) == ("values", label.percent)


def test_an_early_decision_rested_on_data_drift_alone():
    decision = read(DriftDecision, "schema_0_first")

    assert (decision.model_loss, decision.fresh_gain, decision.unpooled_loss) == (None, None, None)
    assert (decision.read_from, decision.since) == ((), "")
    assert (decision.action, decision.percent) == ("rework", 12.0)


def test_what_a_reading_was_called_under_schema_1_is_read_by_its_new_name():
    drift = read(DriftRecord, "schema_1").reading
    performance = read(PerformanceRecord, "schema_1").reading
    staleness = stored(StalenessRecord, "schema_1")
    staleness["reading"]["acts"] = True
    decision = stored(DriftDecision, "schema_1") | {"alone_loss": 7.5}

    assert {(feature.is_actionable, feature.read_in) for feature in drift.features} >= {
        (True, "values"),
        (False, "values"),
    }
    assert (performance.is_actionable, performance.unpooled_value) == (False, 0.6949237846245111)
    assert decoded(StalenessRecord, json.dumps(staleness).encode(), "").reading.is_actionable
    assert decoded(DriftDecision, json.dumps(decision).encode(), "").unpooled_loss == 7.5
    assert read(reports.TestReport, "schema_1").leakage.skills["carrier"] == 0.27414125435069114


def test_an_early_brief_named_no_slices_experiments_and_links():
    brief = read(ReworkBrief, "schema_0_first")

    assert (brief.slices, brief.experiments, brief.links) == ((), (), ())


def test_an_early_backtest_was_a_bare_list_of_plans_that_watched_nothing():
    plans = read(BacktestRecord, "schema_0_first").plans

    assert {(plan.watch_seconds, plan.rolled_back) for plan in plans} == {(0.0, 0)}
    assert {period.outcome for plan in plans for period in plan.periods} == {""}
    assert plans[0].plan == "shipped"


@every_kind
@pytest.mark.parametrize(
    "content", [b"{}", b"[1]", b"7", b'{"reading": 7, "gates": 7, "accepted": true, "trials": [7]}']
)
def test_what_no_release_stored_is_damaged(kind: type[Record], content: bytes):
    with pytest.raises(DataError, match=f"x.json is damaged and cannot be read as {kind.__name__}"):
        decoded(kind, content, "x.json")
