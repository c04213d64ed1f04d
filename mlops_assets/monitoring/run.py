"""Loads what the readings and the decision of a period need, and runs them."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from mlops_assets.data.labels import LABEL
from mlops_assets.data.profile import FeatureProfile
from mlops_assets.data.reference import ReferenceProfile, build_reference
from mlops_assets.data.windows import (
    current_keys,
    is_trained_on,
    periods_in_window,
    reference_window,
    season_keys,
    seasonal_inputs,
)
from mlops_assets.errors import NothingToLearnFrom, PartitionMissing
from mlops_assets.inference.batch import SCORE, VERSION
from mlops_assets.monitoring.decision import Decision, decide
from mlops_assets.monitoring.drift import (
    DriftReading,
    FeatureReading,
    inconclusive,
    measure_distribution,
    measure_drift,
)
from mlops_assets.monitoring.load import (
    earlier_scores,
    hardly_used,
    known_before,
    labelled_features,
    own_test_report,
    reference_of,
    scored_with_labels,
    serving_at_end,
)
from mlops_assets.monitoring.performance import (
    PerformanceReading,
    PerformanceState,
    measure_performance,
    periods_to_pool,
    without_score,
)
from mlops_assets.monitoring.rework import SliceFall
from mlops_assets.monitoring.staleness import (
    PeriodScores,
    StalenessReading,
    StalenessState,
    measure_staleness,
    without_reading,
)
from mlops_assets.products.candidates import Candidate
from mlops_assets.products.policy import Action
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.deployment_ledger import Deployment
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import Bundle, read_manifest
from mlops_assets.training.fit import PREDICTION, Fitted, fit, label_codes, predicted
from mlops_assets.training.metrics import score
from mlops_assets.training.recipe import recipe_to_train_by

DATA_DRIFT, PERFORMANCE, STALENESS, DECISION = "data_drift", "performance", "staleness", "drift_decision"
SLICE_ROWS = 200  # fewer labelled rows of a slice say nothing of it


class DriftRecord(msgspec.Struct, frozen=True):
    """The drift reading of a period and the champion whose training window it was read against."""

    model_version: int
    reading: DriftReading


class PerformanceRecord(msgspec.Struct, frozen=True):
    model_version: int
    reading: PerformanceReading


class StalenessRecord(msgspec.Struct, frozen=True):
    """What a fresh model by recipe `recipe_version` would gain over the champion."""

    model_version: int
    recipe_version: int
    reading: StalenessReading


def read_drift(product: ModelProduct, home: Home, key: str) -> DriftRecord:
    """Raises NoChampion: nothing was deployed by then. PartitionMissing: the period's features were never stored."""
    champion = serving_at_end(product, home, key)
    table, keys = f"{product.name}/features", current_keys(product, key)
    missing = [name for name in keys if not home.offline.has(table, name)]
    if missing == [key] or keys == missing:
        raise PartitionMissing(table, [key])
    if is_trained_on(product, champion.partition, keys):
        return DriftRecord(champion.version, inconclusive(0, _overlap(champion)))
    if missing or len(keys) < periods_in_window(product):
        reason = f"{len(keys) - len(missing)} of the {periods_in_window(product)} periods that make a whole week"
        return DriftRecord(champion.version, inconclusive(0, reason))
    reference = reference_of(champion)
    reading = measure_drift(
        reference,
        home.offline.scan(table, keys),
        min_rows=product.drift.min_rows,
        unused=hardly_used(product, home, champion),
        season=_season(product, home, key),
    )
    prediction = _prediction_drift(product, home, keys, champion, reference.score)
    return DriftRecord(champion.version, msgspec.structs.replace(reading, prediction=prediction))


def read_performance(product: ModelProduct, home: Home, key: str) -> PerformanceRecord:
    """The champion's score, pooled over as many of its periods as it takes to tell a loss from its ups and downs."""
    champion = serving_at_end(product, home, key)
    manifest = read_manifest(Path(champion.bundle))
    expected, policy = manifest.metrics[product.metric], product.drift
    newest = scored_with_labels(product, home, key, manifest)
    if is_trained_on(product, champion.partition, [key]):
        reading = without_score(product.metric, expected, PerformanceState.INCONCLUSIVE, _overlap(champion), newest)
        return PerformanceRecord(champion.version, reading)
    test_periods = max(1, product.test_window // product.period.length)
    wanted = periods_to_pool(manifest.spread_percent, policy.retrain, test_periods, policy.pooled_periods)
    more = max(wanted, policy.agreeing_periods) - 1
    has_labels = newest[LABEL].null_count() < newest.height  # older labels are no answer for a period without any
    pooled = [newest, *(earlier_scores(product, home, key, champion, manifest, more) if has_labels else [])]
    reading = measure_performance(
        pl.concat(pooled),
        task=product.task,
        metric=product.metric,
        expected=expected,
        spread_percent=manifest.spread_percent,
        min_rows=policy.min_rows,
        periods=len(pooled),
        test_periods=test_periods,
    )
    profile, label = reference_of(champion).label, None
    if profile is not None:
        outcomes = home.offline.read(f"{product.name}/labels", [key])
        label = measure_distribution(profile, outcomes, min_rows=policy.min_rows)
    alone = _score_alone(product, newest)
    return PerformanceRecord(champion.version, msgspec.structs.replace(reading, alone=alone, label=label))


def challenger_before(product: ModelProduct, home: Home, candidate: Candidate, key: str) -> Fitted:
    """A model by `candidate` of what was known before period `key`."""
    return fit(product, candidate, known_before(product, home, key))


def read_staleness(
    product: ModelProduct,
    home: Home,
    key: str,
    challenger_of: Callable[[ModelProduct, Home, Candidate, str], Fitted] = challenger_before,
) -> StalenessRecord:
    """What a fresh model would have gained over the last `staleness_every` periods, at every so many of the champion's.

    The challenger is fitted by the newest recipe on what was known before the first of them, as a retraining then would
    have been."""
    champion = serving_at_end(product, home, key)
    recipe = recipe_to_train_by(home.documents, product, 0)
    every, metric = product.drift.staleness_every, product.metric

    def record(reading: StalenessReading) -> StalenessRecord:
        return StalenessRecord(champion.version, recipe.version, reading)

    if not every:
        return record(without_reading(StalenessState.NOT_DUE, metric, "the policy never asks: staleness_every is 0"))
    period = product.period.at(key)
    served = (period.end - product.period.at(champion.partition).start) // product.period.length
    if served < every or served % every:
        due = every - served % every if served > 0 else every
        return record(without_reading(StalenessState.NOT_DUE, metric, f"compared every {every} periods, next in {due}"))
    keys = [item.key for item in product.period.up_to(key, every)]
    manifest = read_manifest(Path(champion.bundle))
    rows = labelled_features(product, home, keys)
    challenger = challenger_of(product, home, recipe.as_candidate(), keys[0])
    compared = []
    bundle = Bundle.open(Path(champion.bundle), threads=2)
    for name in keys:
        part = rows.filter(pl.col("period") == name)
        if part.height:
            labels = label_codes(product.task, part[LABEL], manifest.classes)
            days = part[product.event_timestamp].dt.date()
            said = bundle.predict(part).astype(np.float64)
            compared.append(PeriodScores(name, labels, said, challenger.scores(part), days))
    return record(
        measure_staleness(
            compared,
            task=product.task,
            metric=metric,
            stale=product.drift.stale,
            min_rows=product.drift.min_rows,
            trained_before=keys[0],
            seed=product.seed,
        )
    )


def slices_that_fell(product: ModelProduct, home: Home, key: str) -> list[SliceFall]:
    """Slices of the champion's test report on which it now scores worse; none where it has no report of its own."""
    champion = serving_at_end(product, home, key)
    report = own_test_report(product, home, champion)
    if report is None:
        return []
    manifest, metric = read_manifest(Path(champion.bundle)), product.primary_metric
    features = home.offline.read(f"{product.name}/features", [key])
    rows = scored_with_labels(product, home, key, manifest).drop_nulls(LABEL)
    rows = rows.join(features.drop("day", strict=False), on=list(product.entity_key), how="inner")
    fallen = []
    for item in report.slices:
        if item.metric != product.metric or item.value is None or item.value == 0 or item.feature not in rows.columns:
            continue
        part = rows.filter(pl.col(item.feature).cast(pl.String) == item.category)
        now = _score_alone(product, part) if part.height >= SLICE_ROWS else None
        if now is not None and (lost := -100 * metric.gain(now, item.value) / abs(item.value)) > 0:
            fallen.append(SliceFall(item.feature, item.category, part.height, item.value, now, lost))
    return fallen


def decide_period(product: ModelProduct, home: Home, key: str) -> Decision:
    """The decision on this period's stored readings, with every earlier decision as history."""
    documents, name = home.documents, product.name
    drift = documents.load(name, DATA_DRIFT, key, DriftRecord)
    performance = documents.load(name, PERFORMANCE, key, PerformanceRecord)
    staleness = documents.load(name, STALENESS, key, StalenessRecord)
    history = decisions_before(product, home, key)
    now = product.period.at(key).end + product.label.delay
    retrained = [
        product.period.at(item.period).end + product.label.delay for item in history if item.action is Action.RETRAIN
    ]
    flags = home.ledger.flags(name)
    return decide(
        period=key,
        drift=drift.reading,
        performance=performance.reading,
        staleness=staleness.reading,
        history=history,
        policy=product.drift,
        now=now,
        retrained_at=retrained,
        awaiting_rework=any(
            flag.flagged_at < now and (flag.cleared_at is None or flag.cleared_at > now) for flag in flags
        ),
        model_version=drift.model_version,
        trained_until=_trained_until(product, home, drift.model_version),
        read_from={asset: documents.version(name, asset, key) for asset in (DATA_DRIFT, PERFORMANCE, STALENESS)},
        periods_in_window=periods_in_window(product),
    )


def _trained_until(product: ModelProduct, home: Home, version: int) -> datetime | None:
    """Start of the partition the version was trained for: its training rows came before. None: it never served."""
    partitions = [item.partition for item in home.ledger.history(product.name) if item.version == version]
    return product.period.at(partitions[-1]).start if partitions else None


def decisions_before(product: ModelProduct, home: Home, key: str) -> list[Decision]:
    earlier = [name for name in home.documents.keys(product.name, DECISION) if name < key]
    return [home.documents.load(product.name, DECISION, name, Decision) for name in earlier]


def _overlap(champion: Deployment) -> str:
    return (
        f"version {champion.version} was fitted on rows of this period (its partition is {champion.partition}), "
        "so nothing can be said of it here"
    )


def _season(product: ModelProduct, home: Home, key: str) -> ReferenceProfile | None:
    """The same season a year before; None without seasonal inputs or without that much history."""
    inputs, table = seasonal_inputs(product), f"{product.name}/features"
    keys = season_keys(product, key, home.offline.keys(table)) if inputs else []
    if not keys:
        return None
    rows = home.offline.read(table, keys)
    return build_reference(rows, inputs, reference_window(product, rows))


def _prediction_drift(
    product: ModelProduct, home: Home, keys: list[str], champion: Deployment, profile: FeatureProfile | None
) -> FeatureReading | None:
    """None where the reference knows no scores, or nothing was predicted."""
    table = f"{product.name}/predictions"
    stored = [key for key in keys if home.offline.has(table, key)]
    if profile is None or not stored:
        return None
    scores = home.offline.read(table, stored).filter(pl.col(VERSION) == champion.version)
    values = np.array(scores[SCORE].to_list(), dtype=np.float64)
    said = predicted(product.task, values, read_manifest(Path(champion.bundle)).classes)
    return measure_distribution(profile, pl.DataFrame({PREDICTION: said}), min_rows=product.drift.min_rows)


def _score_alone(product: ModelProduct, rows: pl.DataFrame) -> float | None:
    """None while the period's labels make no score."""
    known = rows.drop_nulls(LABEL)
    try:
        return score(product.metric, product.task, known[LABEL].to_numpy(), np.array(known[SCORE].to_list()))
    except NothingToLearnFrom:
        return None
