"""Loads the inputs of readings from the state: the champion of a period, its reference, its scored rows."""

import msgspec
import polars as pl

from mlops_assets.data.labels import LABEL
from mlops_assets.drift.reference import ReferenceProfile
from mlops_assets.errors import NoChampion, PartitionMissing
from mlops_assets.inference.batch import SCORE, VERSION, first_in_words
from mlops_assets.records.testing import TestReport
from mlops_assets.state.ledger import Deployment
from mlops_assets.state.manifest import REFERENCE, Manifest
from mlops_assets.state.workspace import ProductState
from mlops_assets.training.fit import label_codes
from mlops_assets.training.split import FIT, SPLIT
from mlops_assets.training.window import load_training_set


def champion_at_end(state: ProductState, key: str) -> Deployment:
    """The champion when the period ended. Raises NoChampion if nothing was deployed by then."""
    product = state.product
    champion = state.ledger.champion_at(product.period.at(key).end)
    if champion is None:
        raise NoChampion(product.name, first_in_words(state.ledger.history()))
    return champion


def unused_inputs(state: ProductState, champion: Deployment) -> list[str]:
    """Inputs whose shuffling cost the champion nothing in its test.

    Empty if it has no test report of its own (it was deployed by hand, or a later version was tested), so that every input
    can trigger an action."""
    report = own_test_report(state, champion)
    return [] if report is None else [name for name, loss in report.importance.items() if loss <= 0]


def reference_of(state: ProductState, champion: Deployment) -> ReferenceProfile:
    return msgspec.json.decode(state.bundles.read(champion.version, REFERENCE), type=ReferenceProfile)


def scored_with_labels(state: ProductState, key: str, champion: Manifest) -> pl.DataFrame:
    """The champion's predictions of the period: entity key, score, `label` (class code or value, null until it arrives), `day`.

    Predictions of another version in the same period are left out."""
    product = state.product
    predictions = state.tables.read("predictions", [key]).filter(pl.col(VERSION) == champion.version)
    labels = state.tables.read("labels", [key])
    codes = pl.Series(LABEL, label_codes(product.task, labels[LABEL], champion.classes)).fill_nan(None)
    coded = labels.select(product.entity_key).with_columns(codes)
    # rows before the first deployment have labels but no predictions
    return predictions.join(coded, on=list(product.entity_key), how="left").select(
        *product.entity_key, SCORE, LABEL, pl.col(product.event_timestamp).dt.date().alias("day")
    )


def own_test_report(state: ProductState, champion: Deployment) -> TestReport | None:
    """The champion's test report; None if it is missing or about another version of the partition."""
    try:
        report = state.records.load(TestReport, champion.partition)
    except PartitionMissing:
        return None
    return report if report.version == champion.version else None


def earlier_scores(
    state: ProductState, key: str, champion: Deployment, manifest: Manifest, count: int
) -> list[pl.DataFrame]:
    """Scored rows of up to `count` consecutive periods of the same champion before this one, newest first."""
    product = state.product
    scores: list[pl.DataFrame] = []
    period = product.period.shift(product.period.at(key), -1)
    skipped = state.skipped.keys()
    while len(scores) < count and period.key >= champion.partition and product.period.has(period):
        if not all(state.tables.has(name, period.key) for name in ("predictions", "labels")):
            break
        rows = scored_with_labels(state, period.key, manifest)
        if rows.height == 0 and period.key not in skipped:
            break
        if rows.height:
            scores.append(rows)
        period = product.period.shift(period, -1)
    return scores


def labelled_features(state: ProductState, keys: list[str]) -> pl.DataFrame:
    """Features and labels of the labelled rows of these periods, with the period of each row."""
    product = state.product
    parts = []
    for name in keys:
        features = state.tables.read("features", [name])
        labels = state.tables.read("labels", [name]).select(*product.entity_key, LABEL)
        joined = features.join(labels, on=list(product.entity_key), how="inner").drop_nulls(LABEL)
        parts.append(joined.with_columns(pl.lit(name).alias("period")))
    return pl.concat(parts)


def fitted_rows(state: ProductState, champion: Deployment) -> pl.LazyFrame:
    """Rows that the champion was fitted on. If its training set is no longer stored, it is built again."""
    partition = champion.partition
    if state.tables.has("training_set", partition):
        rows = state.tables.scan("training_set", [partition])
    else:
        since = state.bundles.manifest(champion.version).shift_since
        rows = load_training_set(state, partition, since).lazy()
    return rows.filter(pl.col(SPLIT) == FIT)


def training_rows_before(state: ProductState, key: str) -> pl.DataFrame:
    """Rows that a version trained at the start of period `key` would be fitted on."""
    return load_training_set(state, key).filter(pl.col(SPLIT) == FIT)
