"""Measures and decides a period: loads the inputs of its readings and of its decision from the state."""

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
import numpy as np
import polars as pl

from mlops_assets.data.labels import LABEL
from mlops_assets.drift.profile import FeatureProfile
from mlops_assets.drift.reading import inconclusive, measure_distribution, measure_drift
from mlops_assets.drift.reference import ReferenceProfile, build_reference
from mlops_assets.drift.windows import (
    current_keys,
    is_trained_on,
    newest_learnable,
    periods_in_window,
    periods_with_blocks,
    reference_window,
    season_keys,
    seasonal_inputs,
)
from mlops_assets.errors import NothingToLearnFrom, PartitionMissing
from mlops_assets.inference.batch import SCORE, VERSION
from mlops_assets.monitoring.decision import decide
from mlops_assets.monitoring.load import (
    champion_at_end,
    earlier_scores,
    labelled_features,
    reference_of,
    scored_with_labels,
    training_rows_before,
    unused_inputs,
)
from mlops_assets.monitoring.loop import decided_at, oldest_relevant_period, state_before
from mlops_assets.monitoring.performance import measure_performance, periods_to_pool, without_score
from mlops_assets.monitoring.staleness import PeriodScores, measure_staleness, without_reading
from mlops_assets.products.candidates import Candidate
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.readings import (
    DriftRecord,
    FeatureReading,
    PerformanceRecord,
    PerformanceState,
    StalenessReading,
    StalenessRecord,
    StalenessState,
)
from mlops_assets.state.ledger import Deployment
from mlops_assets.state.manifest import Manifest
from mlops_assets.state.workspace import ProductState
from mlops_assets.training.fit import PREDICTION, Fitted, fit, label_codes, predicted
from mlops_assets.training.metrics import score
from mlops_assets.training.recipe import recipe_to_train_by


def read_drift(state: ProductState, key: str) -> DriftRecord:
    """The data drift of a period against the champion's training window.

    Raises NoChampion if nothing was deployed by then, PartitionMissing if the period's features were never stored."""
    product = state.product
    champion = champion_at_end(state, key)
    keys = current_keys(product, key)
    missing = [name for name in keys if not state.tables.has("features", name)]
    if missing == [key] or keys == missing:
        raise PartitionMissing(f"{product.name}/features", [key])
    if is_trained_on(product, champion.partition, keys, state.bundles.manifest(champion.version).fitted_until):
        return DriftRecord(champion.version, inconclusive(0, _overlap_reason(champion)))
    if missing or len(keys) < periods_in_window(product):
        reason = f"{len(keys) - len(missing)} of the {periods_in_window(product)} periods that make a whole week"
        return DriftRecord(champion.version, inconclusive(0, reason))
    reference = reference_of(state, champion)
    reading = measure_drift(
        reference,
        state.tables.scan("features", keys),
        min_rows=product.drift.min_rows,
        unused=unused_inputs(state, champion),
        season=_season(state, key),
    )
    prediction = _prediction_drift(state, keys, champion, reference.score)
    skipped = state.skipped.among(keys)
    reason = f"{reading.reason}; without {', '.join(skipped)}, which were skipped" if skipped else reading.reason
    return DriftRecord(champion.version, msgspec.structs.replace(reading, prediction=prediction, reason=reason))


def read_performance(state: ProductState, key: str) -> PerformanceRecord:
    """The champion's score, pooled over as many of its periods as it takes to tell a loss from natural variation."""
    product = state.product
    champion = champion_at_end(state, key)
    manifest = state.bundles.manifest(champion.version)
    expected, policy = manifest.metrics[product.metric], product.drift
    newest = scored_with_labels(state, key, manifest)
    if is_trained_on(product, champion.partition, [key], manifest.fitted_until):
        reading = without_score(
            product.metric, expected, PerformanceState.INCONCLUSIVE, _overlap_reason(champion), newest
        )
        return PerformanceRecord(champion.version, reading)
    test_periods = _periods_of_test(product, manifest)
    a_day = product.period.a_day  # the policy counts days if periods are shorter than a day
    for_spread = periods_to_pool(manifest.spread_percent, policy.retrain, test_periods, policy.pooled_periods)
    labelled = newest.height - newest[LABEL].null_count()
    for_rows = min(-(-policy.min_rows // max(1, labelled)), policy.pooled_periods * a_day)
    pooled_periods = max(for_spread * a_day, policy.agreeing_periods * a_day, for_rows, periods_with_blocks(product))
    # a period without labels has no score, even if earlier periods have labels
    earlier = earlier_scores(state, key, champion, manifest, pooled_periods - 1) if labelled else []
    pooled = [newest, *earlier]
    reading = measure_performance(
        pl.concat(pooled),
        task=product.task,
        metric=product.metric,
        expected=expected,
        spread_percent=manifest.spread_percent,
        min_rows=policy.min_rows,
        min_blocks=policy.min_blocks,
        periods=max(1, len(pooled) // a_day),
        test_periods=test_periods,
    )
    profile, label = reference_of(state, champion).label, None
    if profile is not None:
        outcomes = state.tables.read("labels", [key])
        label = measure_distribution(profile, outcomes, min_rows=policy.min_rows)
    reading = msgspec.structs.replace(reading, unpooled_value=score_or_none(product, newest), label=label)
    return PerformanceRecord(champion.version, reading)


def challenger_before(state: ProductState, candidate: Candidate, key: str) -> Fitted:
    """A model of `candidate` that is fitted on what was known before period `key`."""
    return fit(state.product, candidate, training_rows_before(state, key))


def read_staleness(
    state: ProductState,
    key: str,
    challenger_of: Callable[[ProductState, Candidate, str], Fitted] = challenger_before,
) -> StalenessRecord:
    """What a fresh model would have gained over the last `staleness_every` periods; due whenever the champion has served so many.

    The challenger is fitted with the newest recipe on what was known before the first of those periods, as a retraining at
    that time would have been."""
    product = state.product
    champion = champion_at_end(state, key)
    recipe = recipe_to_train_by(state, 0)
    every, metric = product.drift.staleness_every, product.metric

    def record(reading: StalenessReading) -> StalenessRecord:
        return StalenessRecord(champion.version, recipe.version, reading)

    if not every:
        return record(
            without_reading(StalenessState.NOT_DUE, metric, "the policy switches staleness off: staleness_every is 0")
        )
    every *= product.period.a_day
    compared_on = max(every, periods_with_blocks(product))
    served = product.period.count(champion.partition, key)
    if served < compared_on or served % every:
        first = -(-compared_on // every) * every
        due = every - served % every if served > first else first - max(0, served)
        return record(without_reading(StalenessState.NOT_DUE, metric, f"compared every {every} periods, next in {due}"))
    keys = [item.key for item in product.period.up_to(key, compared_on)]
    manifest = state.bundles.manifest(champion.version)
    rows = labelled_features(state, keys)
    challenger = challenger_of(state, recipe.as_candidate(), keys[0])
    scores = []
    bundle = state.bundles.open(champion.version, threads=2)
    for name in keys:
        part = rows.filter(pl.col("period") == name)
        if part.height:
            labels = label_codes(product.task, part[LABEL], manifest.classes)
            days = part[product.event_timestamp].dt.date()
            predictions = bundle.predict(part).astype(np.float64)
            scores.append(PeriodScores(name, labels, predictions, challenger.scores(part), days))
    return record(
        measure_staleness(
            scores,
            task=product.task,
            metric=metric,
            stale=product.drift.stale,
            min_rows=product.drift.min_rows,
            min_blocks=product.drift.min_blocks,
            periods_in_group=periods_in_window(product),
            trained_before=keys[0],
            seed=product.seed,
        )
    )


def decide_period(state: ProductState, key: str, earlier: Sequence[DriftDecision] | None = None) -> DriftDecision:
    """The decision on this period's stored readings. earlier: `decisions_before` it, if they are loaded already."""
    product = state.product
    drift = state.records.load(DriftRecord, key)
    performance = state.records.load(PerformanceRecord, key)
    staleness = state.records.load(StalenessRecord, key)
    before = state_before(state, decisions_before(state, key) if earlier is None else earlier)
    now = decided_at(product, key)
    return decide(
        period=key,
        drift=drift.reading,
        performance=performance.reading,
        staleness=staleness.reading,
        history=before.decisions,
        policy=product.drift,
        now=now,
        retrained_at=before.retrained_at(product),
        awaiting_rework=before.awaits_rework(product, now),
        model_version=drift.model_version,
        trained_until=_trained_until(state, drift.model_version),
        read_from={
            kind.asset: state.records.version(kind, key) for kind in (DriftRecord, PerformanceRecord, StalenessRecord)
        },
        periods_in_window=periods_in_window(product),
        newest_learnable=newest_learnable(product, product.period.shift(product.period.at(key), 1).key),
    )


def _trained_until(state: ProductState, version: int) -> datetime | None:
    """Start of the version's partition, before which its training rows end; None if it never served."""
    product = state.product
    partitions = [item.partition for item in state.ledger.history() if item.version == version]
    return product.period.at(partitions[-1]).start if partitions else None


def _periods_of_test(product: ModelProduct, manifest: Manifest) -> int:
    """Length of the version's test split in periods, or in days if periods are shorter than a day."""
    periods = product.period.in_window(product.test_window)
    if manifest.tested_from is not None:
        first = product.period.containing(manifest.tested_from)
        middle = first.start + (first.end - first.start) / 2
        # a first period of which less than half is tested does not count
        periods = product.period.count(first.key, manifest.partition) - 1 - (manifest.tested_from > middle)
    return max(1, round(periods / product.period.a_day))


def decisions_before(state: ProductState, key: str) -> list[DriftDecision]:
    """The earlier decisions that the decision of `key` may depend on, oldest first."""
    product = state.product
    champion = state.ledger.champion_at(product.period.at(key).end)
    since = oldest_relevant_period(product, key, champion.partition) if champion else ""
    names = [name for name in state.records.keys(DriftDecision, since) if name < key]
    return state.records.load_all(DriftDecision, names)


def _overlap_reason(champion: Deployment) -> str:
    return (
        f"version {champion.version} was fitted on rows of this period (its partition is {champion.partition}), "
        "so it cannot be measured here"
    )


def _season(state: ProductState, key: str) -> ReferenceProfile | None:
    """The reference of the same season a year before; None without seasonal inputs or with less than a year of history."""
    product = state.product
    inputs = seasonal_inputs(product)
    keys = season_keys(product, key, state.tables.keys("features")) if inputs else []
    if not keys:
        return None
    rows = state.tables.read("features", keys)
    return build_reference(rows, inputs, reference_window(product, rows))


def _prediction_drift(
    state: ProductState, keys: list[str], champion: Deployment, profile: FeatureProfile | None
) -> FeatureReading | None:
    """Drift of the champion's predictions; None if the reference has no scores, or nothing was predicted."""
    product = state.product
    stored = [key for key in keys if state.tables.has("predictions", key)]
    if profile is None or not stored:
        return None
    scores = state.tables.read("predictions", stored).filter(pl.col(VERSION) == champion.version)
    values = np.array(scores[SCORE].to_list(), dtype=np.float64)
    predictions = predicted(product.task, values, state.bundles.manifest(champion.version).classes)
    return measure_distribution(profile, pl.DataFrame({PREDICTION: predictions}), min_rows=product.drift.min_rows)


def score_or_none(product: ModelProduct, rows: pl.DataFrame) -> float | None:
    """The primary metric of the labelled rows; None if they have no score."""
    labelled = rows.drop_nulls(LABEL)
    try:
        return score(product.metric, product.task, labelled[LABEL].to_numpy(), np.array(labelled[SCORE].to_list()))
    except NothingToLearnFrom:
        return None
