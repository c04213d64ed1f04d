"""What readings are made of, loaded from the stores: the champion of a period, its reference, its scored rows."""

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

HARDLY_USED = 0.0  # an input whose shuffling costs nothing


def serving_at_end(state: ProductState, key: str) -> Deployment:
    """The champion when the period ended. Raises NoChampion: nothing was deployed by then."""
    product = state.product
    found = state.ledger.champion_at(product.period.at(key).end)
    if found is None:
        raise NoChampion(product.name, first_in_words(state.ledger.history()))
    return found


def hardly_used(state: ProductState, champion: Deployment) -> list[str]:
    """Inputs whose shuffling cost the champion nothing in its test.

    None where it has no test report of its own (it was rolled out by hand, or tested anew since): then every input acts."""
    report = own_test_report(state, champion)
    return [] if report is None else [name for name, loss in report.importance.items() if loss <= HARDLY_USED]


def reference_of(state: ProductState, champion: Deployment) -> ReferenceProfile:
    return msgspec.json.decode(state.bundles.read(champion.version, REFERENCE), type=ReferenceProfile)


def scored_with_labels(state: ProductState, key: str, champion: Manifest) -> pl.DataFrame:
    """The champion's predictions of the period with entity key, `label` (class code or value, null while unknown), `day`.

    What another version predicted earlier in the period is not charged to it."""
    product = state.product
    predictions = state.tables.read("predictions", [key]).filter(pl.col(VERSION) == champion.version)
    labels = state.tables.read("labels", [key])
    codes = pl.Series(LABEL, label_codes(product.task, labels[LABEL], champion.classes)).fill_nan(None)
    known = labels.select(product.entity_key).with_columns(codes)
    # rows that happened before the first deployment were not predicted
    return predictions.join(known, on=list(product.entity_key), how="left").select(
        *product.entity_key, SCORE, LABEL, pl.col(product.event_timestamp).dt.date().alias("day")
    )


def own_test_report(state: ProductState, champion: Deployment) -> TestReport | None:
    """None where it is missing, or of another version than serves."""
    try:
        report = state.records.load(TestReport, champion.partition)
    except PartitionMissing:
        return None
    return report if report.version == champion.version else None


def earlier_scores(
    state: ProductState, key: str, champion: Deployment, manifest: Manifest, count: int
) -> list[pl.DataFrame]:
    """Scored rows of up to `count` periods before this one that the same champion served, newest first, without a gap."""
    product = state.product
    found: list[pl.DataFrame] = []
    period = product.period.shift(product.period.at(key), -1)
    skipped = state.skipped.keys()
    while len(found) < count and period.key >= champion.partition and product.period.has(period):
        if not all(state.tables.has(name, period.key) for name in ("predictions", "labels")):
            break
        rows = scored_with_labels(state, period.key, manifest)
        if rows.height == 0 and period.key not in skipped:
            break
        if rows.height:
            found.append(rows)
        period = product.period.shift(period, -1)
    return found


def labelled_features(state: ProductState, keys: list[str]) -> pl.DataFrame:
    """Features of these periods with their known labels and the period each row belongs to."""
    product = state.product
    parts = []
    for name in keys:
        features = state.tables.read("features", [name])
        labels = state.tables.read("labels", [name]).select(*product.entity_key, LABEL)
        joined = features.join(labels, on=list(product.entity_key), how="inner").drop_nulls(LABEL)
        parts.append(joined.with_columns(pl.lit(name).alias("period")))
    return pl.concat(parts)


def learned_from(state: ProductState, champion: Deployment) -> pl.LazyFrame:
    """Rows that the champion was fitted on. Where its training set is not kept any more, they are put together again."""
    partition = champion.partition
    if state.tables.has("training_set", partition):
        rows = state.tables.scan("training_set", [partition])
    else:
        since = state.bundles.manifest(champion.version).shift_since
        rows = load_training_set(state, partition, since).lazy()
    return rows.filter(pl.col(SPLIT) == FIT)


def known_before(state: ProductState, key: str) -> pl.DataFrame:
    return load_training_set(state, key).filter(pl.col(SPLIT) == FIT)
