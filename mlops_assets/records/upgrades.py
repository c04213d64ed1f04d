"""Upgrades: what a record of an earlier release is turned into when it is read.

Each kind of record has one function for each step, from schema n to n + 1. It takes what the stored JSON holds and gives the
fields of the next schema. Whoever changes the fields of a record raises its `schema` and adds a step here, with a stored sample
beside the tests; a step that was released is never changed.

Schema 0 is what was written before records had a number, over several releases: a field that some of them did not know yet is
given the value that means so.
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
    """The fields are the same."""
    return fields


def acceptance_to_1(fields: Fields) -> Fields:
    """There were no persons to wait for, so a version was accepted or refused, and nobody had answered."""
    state = "accepted" if fields["accepted"] else "refused"
    gates = [{"inconclusive": False, **gate} for gate in fields["gates"]]
    known = {"answers": 0, **fields, "gates": gates}
    return {**known, "state": known.get("state") or state}


def approval_to_1(fields: Fields) -> Fields:
    """Number 0: answers did not form a chain, so this one does not count any more."""
    return {"through": "", "number": 0, "previous": "", **fields}


def experiment_to_1(fields: Fields) -> Fields:
    """Only declared settings were tried, one for each candidate, and bundles were not measured."""
    trials = [{"bundle_bytes": None, "tried": 1, **trial} for trial in fields["trials"]]
    return {"searched": [], "ended_by": "", **fields, "trials": trials}


def experiment_run_to_1(mlflow_run_id: str) -> Fields:
    """It was stored as a bare text."""
    return {"mlflow_run_id": mlflow_run_id}


def training_inputs_to_1(fields: Fields) -> Fields:
    """Every training set was split as usual."""
    return {"shift_since": "", **fields}


def test_report_to_1(fields: Fields) -> Fields:
    """What was not measured is None, empty, or 0 rows."""
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
    """Latency was measured once, with nothing beside it."""
    return {"latency": None, **fields}


def data_drift_to_1(fields: Fields) -> Fields:
    """Only values were read, and no scores."""
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
    """Each period was read by itself, and its labels were compared with nothing."""
    reading = {"periods": 1, "natural_percent": 0.0, "alone": None, "label": None, **fields["reading"]}
    label = reading["label"]
    return {**fields, "reading": {**reading, "label": None if label is None else _feature_reading(label)}}


def drift_decision_to_1(fields: Fields) -> Fields:
    """It rested on data drift alone, whose onset was not looked for."""
    unread: Fields = {"model_loss": None, "fresh_gain": None, "read_from": [], "alone_loss": None, "since": ""}
    return {**unread, **fields}


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
    return {"slices": [], "experiments": [], "links": [], **fields}


def backtest_to_1(plans: list[Fields]) -> Fields:
    """It was stored as a bare list of plans."""
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
