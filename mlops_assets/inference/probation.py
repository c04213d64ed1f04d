"""Probation: compares a new champion with the former one on the same labelled rows, and rolls back one that fails."""

from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl

from mlops_assets.data.labels import LABEL
from mlops_assets.errors import BundleError, NothingToLearnFrom
from mlops_assets.features.opening import open_bundle
from mlops_assets.inference.batch import SCORE, VERSION
from mlops_assets.inference.rollback import Rollback, roll_back, version_before
from mlops_assets.products.periods import Period
from mlops_assets.products.probation import Probation
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.records.inference import ProbationRecord, ProbationState
from mlops_assets.state.ledger import Deployment
from mlops_assets.state.workspace import ProductState
from mlops_assets.training.bootstrap import paired_gain
from mlops_assets.training.fit import label_codes
from mlops_assets.training.metrics import Array, score


def judge_probation(
    product: ModelProduct, labels: Array, new: Array, old: Array, days: pl.Series, *, errors: int
) -> ProbationRecord:
    """labels, new, old, days: (n,) labelled rows with the scores of both. errors: rows the new champion could not score.

    The interval is widened because it is judged in each period of the probation (Bonferroni)."""
    rule = product.probation
    rows = len(labels) + errors
    if rows and errors / rows > rule.error_rate:
        reason = f"{errors:,} of {rows:,} rows could not be scored, more than {rule.error_rate:.1%}"
        return ProbationRecord(ProbationState.FAILED, reason, rows=rows, errors=errors)
    if len(labels) < product.drift.min_rows:
        reason = f"{len(labels):,} labelled rows, {product.drift.min_rows:,} are needed"
        return ProbationRecord(ProbationState.INCONCLUSIVE, reason, rows=rows, errors=errors)
    try:
        margin = rule.margin_of(product.primary_metric, score(product.metric, product.task, labels, old))
        gain = paired_gain(product.metric, product.task, labels, new, old, days, confidence=_two_sided(rule))
    except NothingToLearnFrom as error:
        return ProbationRecord(ProbationState.INCONCLUSIVE, str(error), rows=rows, errors=errors)
    reading = f"{gain.value:+.4f} {product.metric} against the former champion ({gain.low:+.4f} to {gain.high:+.4f})"
    failed = gain.high < -margin
    return ProbationRecord(
        ProbationState.FAILED if failed else ProbationState.PASSING,
        f"{reading} on {rows:,} rows, {'' if failed else 'not '}a loss of more than {margin:.4g} beyond noise",
        rows=rows,
        errors=errors,
        gain=gain.value,
        low=gain.low,
        high=gain.high,
    )


def read_probation(state: ProductState, key: str) -> ProbationRecord:
    """The reading of the champion's probation once the labels of period `key` have arrived."""
    product = state.product
    history = state.ledger.history()
    pair = in_probation(product, history, product.period.at(key))
    if pair is None:
        return ProbationRecord(ProbationState.NONE, "no champion is in probation")
    champion, former = pair
    versions = dict(version=champion.version, former=former.version)
    try:
        old_bundle = open_bundle(state, former.version, threads=2)
    except BundleError as error:
        return ProbationRecord(
            ProbationState.INCONCLUSIVE, f"the former champion cannot be opened: {error}", **versions
        )
    bundle = open_bundle(state, champion.version, threads=2)
    scored = _scored_rows(state, probation_keys(product, champion, key), champion.version)
    finite = scored[SCORE].is_finite() if scored[SCORE].dtype.is_numeric() else scored[SCORE].is_not_null()
    errors = int((~finite.fill_null(False)).sum())
    labelled = scored.filter(finite.fill_null(False)).drop_nulls(LABEL)
    labels = label_codes(product.task, labelled[LABEL], bundle.manifest.classes)
    new, old = (np.asarray(item.predict(labelled), dtype=np.float64) for item in (bundle, old_bundle))
    if product.task is Task.MULTICLASS and bundle.manifest.classes != old_bundle.manifest.classes:
        return ProbationRecord(ProbationState.INCONCLUSIVE, "the former champion has other classes", **versions)
    days = labelled[product.event_timestamp].dt.date()
    record = judge_probation(product, labels, new, old, days, errors=errors)
    return msgspec.structs.replace(record, **versions)


def end_probation(
    state: ProductState, key: str, record: ProbationRecord, run_id: str = ""
) -> tuple[str, Rollback | None]:
    """Store the record of period `key`, and roll back to the former champion if the new one failed.

    Returns the data version of the record, and the rollback if there was one."""
    version = state.records.save(key, record)
    if record.state is not ProbationState.FAILED:
        return version, None
    rollback = roll_back(
        state,
        to=record.former,
        by=ProbationRecord.asset,
        reason=record.reason,
        run_id=run_id,
        instead_of=record.version,
    )
    return version, rollback


def in_probation(
    product: ModelProduct, history: Sequence[Deployment], period: Period
) -> tuple[Deployment, Deployment] | None:
    """The present champion and the former one while `period` is one of the champion's first; None otherwise.

    A version that serves again after a rollback is not new, so two versions never roll each other back in turn."""
    if not history or product.probation.periods == 0:
        return None
    champion = history[-1]
    if any(item.version == champion.version for item in history[:-1]):
        return None
    before = version_before(history)
    first = product.period.shift(period, -product.probation.periods * product.period.a_day)
    if before is None or not (first.start < champion.deployed_at < period.end):
        return None
    return champion, next(item for item in reversed(history) if item.version == before)


def probation_keys(product: ModelProduct, champion: Deployment, key: str) -> list[str]:
    """Keys of the periods from the champion's deployment to `key`."""
    first = product.period.containing(champion.deployed_at)
    return [period.key for period in product.period.up_to(key, product.period.count(first.key, key))]


def _scored_rows(state: ProductState, keys: list[str], version: int) -> pl.DataFrame:
    """Features, score and label of the rows that this version scored in these periods; label is null until it arrives."""
    product = state.product
    identity, parts = list(product.entity_key), []
    for key in keys:
        if not all(state.tables.has(name, key) for name in ("predictions", "labels")):
            continue  # the period of the deployment may have no predictions
        predictions = state.tables.read("predictions", [key]).filter(pl.col(VERSION) == version)
        features = state.tables.read("features", [key])
        labels = state.tables.read("labels", [key]).select(*identity, LABEL)
        rows = features.join(predictions.select(*identity, SCORE), on=identity, how="inner")
        parts.append(rows.join(labels, on=identity, how="left"))
    return pl.concat(parts)


def _two_sided(rule: Probation) -> float:
    return 1 - 2 * (1 - rule.confidence) / rule.periods
