"""What readings are made of, loaded from the stores: the champion of a period, its reference, its scored rows."""

from pathlib import Path

import msgspec
import polars as pl

from mlops_assets.data.labels import LABEL
from mlops_assets.data.reference import ReferenceProfile
from mlops_assets.errors import NoChampion, PartitionMissing
from mlops_assets.inference.batch import SCORE, VERSION
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.deployment_ledger import Deployment
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import REFERENCE, Manifest
from mlops_assets.testing.report import TestReport
from mlops_assets.training.fit import label_codes
from mlops_assets.training.split import FIT, SPLIT
from mlops_assets.training.window import load_training_set

HARDLY_USED = 0.0  # an input whose shuffling costs nothing


def serving_at_end(product: ModelProduct, home: Home, key: str) -> Deployment:
    """The champion when the period ended. Raises NoChampion: nothing was deployed by then."""
    found = home.ledger.champion_at(product.name, product.period.at(key).end)
    if found is None:
        raise NoChampion(product.name)
    return found


def hardly_used(product: ModelProduct, home: Home, champion: Deployment) -> list[str]:
    """Inputs whose shuffling cost the champion nothing in its test.

    None where it has no test report of its own (it was rolled out by hand, or tested anew since): then every input acts."""
    report = own_test_report(product, home, champion)
    return [] if report is None else [name for name, loss in report.importance.items() if loss <= HARDLY_USED]


def reference_of(champion: Deployment) -> ReferenceProfile:
    return msgspec.json.decode((Path(champion.bundle) / REFERENCE).read_bytes(), type=ReferenceProfile)


def scored_with_labels(product: ModelProduct, home: Home, key: str, champion: Manifest) -> pl.DataFrame:
    """The champion's predictions of the period with entity key, `label` (class code or value, null while unknown), `day`.

    What another version predicted earlier in the period is not charged to it."""
    predictions = home.offline.read(f"{product.name}/predictions", [key]).filter(pl.col(VERSION) == champion.version)
    labels = home.offline.read(f"{product.name}/labels", [key])
    codes = pl.Series(LABEL, label_codes(product.task, labels[LABEL], champion.classes)).fill_nan(None)
    known = labels.select(product.entity_key).with_columns(codes)
    # rows that happened before the first deployment were not predicted
    return predictions.join(known, on=list(product.entity_key), how="left").select(
        *product.entity_key, SCORE, LABEL, pl.col(product.event_timestamp).dt.date().alias("day")
    )


def own_test_report(product: ModelProduct, home: Home, champion: Deployment) -> TestReport | None:
    """None where it is missing, or of another version than serves."""
    try:
        report = home.documents.load(product.name, "test_report", champion.partition, TestReport)
    except PartitionMissing:
        return None
    return report if report.version == champion.version else None


def earlier_scores(
    product: ModelProduct, home: Home, key: str, champion: Deployment, manifest: Manifest, count: int
) -> list[pl.DataFrame]:
    """Scored rows of up to `count` periods before this one that the same champion served, newest first, without a gap."""
    found: list[pl.DataFrame] = []
    period = product.period.shift(product.period.at(key), -1)
    while len(found) < count and period.key >= champion.partition and product.period.has(period):
        if not all(home.offline.has(f"{product.name}/{name}", period.key) for name in ("predictions", "labels")):
            break
        rows = scored_with_labels(product, home, period.key, manifest)
        if rows.height == 0:
            break
        found.append(rows)
        period = product.period.shift(period, -1)
    return found


def labelled_features(product: ModelProduct, home: Home, keys: list[str]) -> pl.DataFrame:
    """Features of these periods with their known labels and the period each row belongs to."""
    parts = []
    for name in keys:
        features = home.offline.read(f"{product.name}/features", [name])
        labels = home.offline.read(f"{product.name}/labels", [name]).select(*product.entity_key, LABEL)
        joined = features.join(labels, on=list(product.entity_key), how="inner").drop_nulls(LABEL)
        parts.append(joined.with_columns(pl.lit(name).alias("period")))
    return pl.concat(parts)


def known_before(product: ModelProduct, home: Home, key: str) -> pl.DataFrame:
    return load_training_set(product, home.offline, key).filter(pl.col(SPLIT) == FIT)
