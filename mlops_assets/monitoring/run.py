"""Loads what the readings and the decision of a period need, and runs them."""

from pathlib import Path

import msgspec
import polars as pl

from mlops_assets.data.labels import LABEL
from mlops_assets.data.profile import ReferenceProfile
from mlops_assets.errors import NoChampion
from mlops_assets.inference.batch import SCORE, VERSION
from mlops_assets.monitoring.decision import Decision, decide
from mlops_assets.monitoring.drift import DriftReading, measure_drift
from mlops_assets.monitoring.performance import PerformanceReading, measure_performance
from mlops_assets.products.policy import Action
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.deployment_ledger import Deployment
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import REFERENCE, Bundle, Manifest
from mlops_assets.testing.report import TestReport
from mlops_assets.training.fit import label_codes

DATA_DRIFT, PERFORMANCE, DECISION = "data_drift", "performance", "drift_decision"
HARDLY_USED = 0.0  # an input whose shuffling costs nothing


class DriftRecord(msgspec.Struct, frozen=True):
    """The drift reading of a period and the champion whose training window it was read against."""

    model_version: int
    reading: DriftReading


class PerformanceRecord(msgspec.Struct, frozen=True):
    model_version: int
    reading: PerformanceReading


def serving_at_end(product: ModelProduct, home: Home, key: str) -> Deployment:
    """The champion when the period ended. Raises NoChampion: nothing was deployed by then."""
    found = home.ledger.champion_at(product.name, product.period.at(key).end)
    if found is None:
        raise NoChampion(product.name)
    return found


def read_drift(product: ModelProduct, home: Home, key: str) -> DriftRecord:
    champion = serving_at_end(product, home, key)
    reference = msgspec.json.decode((Path(champion.bundle) / REFERENCE).read_bytes(), type=ReferenceProfile)
    features = home.offline.read(f"{product.name}/features", [key])
    reading = measure_drift(
        reference, features, min_rows=product.drift.min_rows, unused=hardly_used(product, home, champion)
    )
    return DriftRecord(champion.version, reading)


def read_performance(product: ModelProduct, home: Home, key: str) -> PerformanceRecord:
    champion = serving_at_end(product, home, key)
    bundle = Bundle.open(Path(champion.bundle), threads=1)
    reading = measure_performance(
        scored_with_labels(product, home, key, bundle.manifest),
        task=product.task,
        metric=product.metric,
        expected=bundle.manifest.metrics[product.metric],
        spread_percent=bundle.manifest.spread_percent,
        min_rows=product.drift.min_rows,
    )
    return PerformanceRecord(champion.version, reading)


def hardly_used(product: ModelProduct, home: Home, champion: Deployment) -> list[str]:
    """Inputs whose shuffling cost the champion nothing in its test; none where another version was tested since."""
    report = home.documents.load(product.name, "test_report", champion.partition, TestReport)
    if report.version != champion.version:
        return []
    return [name for name, loss in report.importance.items() if loss <= HARDLY_USED]


def scored_with_labels(product: ModelProduct, home: Home, key: str, champion: Manifest) -> pl.DataFrame:
    """The champion's predictions of the period with `label` (class code or value, null while unknown) and `day`.

    What another version predicted earlier in the period is not charged to it."""
    predictions = home.offline.read(f"{product.name}/predictions", [key]).filter(pl.col(VERSION) == champion.version)
    labels = home.offline.read(f"{product.name}/labels", [key])
    codes = pl.Series(LABEL, label_codes(product.task, labels[LABEL], champion.classes)).fill_nan(None)
    known = labels.select(product.entity_key).with_columns(codes)
    # rows that happened before the first deployment were not predicted
    return predictions.join(known, on=list(product.entity_key), how="left").select(
        SCORE, LABEL, pl.col(product.event_timestamp).dt.date().alias("day")
    )


def decide_period(product: ModelProduct, home: Home, key: str) -> Decision:
    """The decision on this period's stored readings, with every earlier decision as history."""
    drift = home.documents.load(product.name, DATA_DRIFT, key, DriftRecord)
    performance = home.documents.load(product.name, PERFORMANCE, key, PerformanceRecord)
    history = decisions_before(product, home, key)
    now = product.period.at(key).end + product.label.delay
    retrained = [
        product.period.at(item.period).end + product.label.delay for item in history if item.action is Action.RETRAIN
    ]
    flags = home.ledger.flags(product.name)
    return decide(
        period=key,
        drift=drift.reading,
        performance=performance.reading,
        history=history,
        policy=product.drift,
        now=now,
        retrained_at=retrained,
        awaiting_rework=any(
            flag.flagged_at < now and (flag.cleared_at is None or flag.cleared_at > now) for flag in flags
        ),
        model_version=drift.model_version,
    )


def decisions_before(product: ModelProduct, home: Home, key: str) -> list[Decision]:
    earlier = [name for name in home.documents.keys(product.name, DECISION) if name < key]
    return [home.documents.load(product.name, DECISION, name, Decision) for name in earlier]
