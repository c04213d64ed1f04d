"""Upgrades: how a record that an earlier release stored is read by this one.

Each kind of record has one function per step, from schema n to n + 1. It takes the fields of the stored JSON and returns the
fields of the next schema. Whoever changes the fields of a record raises its `schema` and adds a step here, with a stored sample
beside the tests. A released step is never changed.

Schema 0 covers several releases that wrote no schema number. A field that some of them lacked gets the value that stands for
"not measured" or "did not exist".
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mlops_assets.records.acceptance import AcceptanceRecord, Approval, Head
from mlops_assets.records.data import AskedAgain, IncompletePeriod, SkippedPeriod
from mlops_assets.records.decisions import BacktestRecord, DriftDecision, ReworkBrief
from mlops_assets.records.inference import ProbationRecord
from mlops_assets.records.readings import DriftRecord, PerformanceRecord, StalenessRecord
from mlops_assets.records.record import Record
from mlops_assets.records.runs import RunRecord
from mlops_assets.records.testing import StagingReport, TestReport
from mlops_assets.records.training import ExperimentRun, Leaderboard, ModelRecord, Recipe, TrainingInputs

Fields = dict[str, Any]
Step = Callable[[Any], Fields]


def number_only(fields: Fields) -> Fields:
    """Only the schema number is new."""
    return fields


def acceptance_to_1(fields: Fields) -> Fields:
    """Manual acceptance did not exist: every version was accepted or refused, and there were no answers."""
    state = "accepted" if fields["accepted"] else "refused"
    gates = [{"inconclusive": False, **gate} for gate in fields["gates"]]
    return {"answers": 0, **fields, "gates": gates, "state": fields.get("state") or state}


def approval_to_1(fields: Fields) -> Fields:
    """Answers formed no chain. Number 0 says that this one does not count any more."""
    return {"through": "", "number": 0, "previous": "", **fields}


def experiment_to_1(fields: Fields) -> Fields:
    """Only the declared setting of each candidate was tried, and bundles were not measured."""
    trials = [{"bundle_bytes": None, "tried": 1, **trial} for trial in fields["trials"]]
    return {"searched": [], "ended_by": "", **fields, "trials": trials}


def experiment_run_to_1(mlflow_run_id: str) -> Fields:
    """The run id was stored as bare text."""
    return {"mlflow_run_id": mlflow_run_id}


def training_inputs_to_1(fields: Fields) -> Fields:
    """Every training set had the usual split."""
    return {"shift_since": "", **fields}


def test_report_to_1(fields: Fields) -> Fields:
    """None, an empty list or 0 stands for what was not measured."""
    return {
        "calibration_error": None,
        "confusion": None,
        "worst_slices": [],
        "slices_examined": 0,
        "leakage": None,
        "bundle_bytes": None,
        "parity_rows": 0,
        "flipped_labels": 0,
        **fields,
    }


def staging_report_to_1(fields: Fields) -> Fields:
    """Latency was measured once, without a witness."""
    return {"latency": None, **fields}


def data_drift_to_1(fields: Fields) -> Fields:
    """Drift was read in values only, not in changes or scores."""
    reading = {"prediction": None, **fields["reading"]}
    prediction = reading["prediction"]
    return {
        **fields,
        "reading": {
            **reading,
            "features": [_feature_reading(item) for item in reading["features"]],
            "prediction": None if prediction is None else _feature_reading(prediction),
        },
    }


def performance_to_1(fields: Fields) -> Fields:
    """Periods were not pooled, and label drift was not measured."""
    reading = {"periods": 1, "natural_percent": 0.0, "alone": None, "label": None, **fields["reading"]}
    label = reading["label"]
    return {**fields, "reading": {**reading, "label": None if label is None else _feature_reading(label)}}


def drift_decision_to_1(fields: Fields) -> Fields:
    """Decisions used data drift only, without its onset."""
    missing: Fields = {"model_loss": None, "fresh_gain": None, "read_from": [], "alone_loss": None, "since": ""}
    return {**missing, **fields}


def data_drift_to_2(fields: Fields) -> Fields:
    """`acts` and `by` of every feature are called `is_actionable` and `read_in`."""
    reading = fields["reading"]
    features = [_feature_reading_to_2(item) for item in reading["features"]]
    prediction = _feature_reading_to_2(reading["prediction"])
    return {**fields, "reading": {**reading, "features": features, "prediction": prediction}}


def performance_to_2(fields: Fields) -> Fields:
    """`acts` is called `is_actionable`, and `alone`, the score without the periods pooled with it, `unpooled_value`."""
    reading = _renamed(fields["reading"], acts="is_actionable", alone="unpooled_value")
    return {**fields, "reading": {**reading, "label": _feature_reading_to_2(reading["label"])}}


def staleness_to_2(fields: Fields) -> Fields:
    """`acts` is called `is_actionable`."""
    return {**fields, "reading": _renamed(fields["reading"], acts="is_actionable")}


def drift_decision_to_2(fields: Fields) -> Fields:
    """`alone_loss` is called `unpooled_loss`."""
    return _renamed(fields, alone_loss="unpooled_loss")


def test_report_to_2(fields: Fields) -> Fields:
    """`alone` of the leakage probe is called `skills`."""
    leakage = fields["leakage"]
    return {**fields, "leakage": None if leakage is None else _renamed(leakage, alone="skills")}


def rework_brief_to_1(fields: Fields) -> Fields:
    """Briefs named no slices, experiments or links."""
    return {"slices": [], "experiments": [], "links": [], **fields}


def backtest_to_1(plans: list[Fields]) -> Fields:
    """The plans were stored as a bare list."""
    return {
        "plans": [
            {
                "watch_seconds": 0.0,
                "rolled_back": 0,
                **plan,
                "periods": [{"outcome": "", **period} for period in plan["periods"]],
            }
            for plan in msgspec.convert(plans, list[Fields])
        ]
    }


def _feature_reading(fields: Fields) -> Fields:
    return {"by": "values", "values_percent": fields["percent"], **fields}


def _feature_reading_to_2(fields: Fields | None) -> Fields | None:
    return None if fields is None else _renamed(fields, acts="is_actionable", by="read_in")


def _renamed(fields: Fields, **names: str) -> Fields:
    return {names.get(name, name): value for name, value in {**fields}.items()}


UPGRADES: Mapping[type[Record], tuple[Step, ...]] = {
    AcceptanceRecord: (acceptance_to_1,),
    Approval: (approval_to_1,),
    AskedAgain: (number_only,),
    BacktestRecord: (backtest_to_1,),
    DriftDecision: (drift_decision_to_1, drift_decision_to_2),
    DriftRecord: (data_drift_to_1, data_drift_to_2),
    ExperimentRun: (experiment_run_to_1,),
    Head: (number_only,),
    IncompletePeriod: (number_only,),
    Leaderboard: (experiment_to_1,),
    ModelRecord: (number_only,),
    PerformanceRecord: (performance_to_1, performance_to_2),
    ProbationRecord: (number_only,),
    Recipe: (number_only,),
    ReworkBrief: (rework_brief_to_1,),
    RunRecord: (number_only,),
    SkippedPeriod: (number_only,),
    StagingReport: (staging_report_to_1,),
    StalenessRecord: (number_only, staleness_to_2),
    TestReport: (test_report_to_1, test_report_to_2),
    TrainingInputs: (training_inputs_to_1,),
}
