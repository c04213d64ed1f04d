"""Assets of the data pipeline: source tables, labels, features, online features."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.data.stored_tables import tables_of, tables_with_lookback
from mlops_assets.errors import ContractBroken, DataError, NotArrived
from mlops_assets.products.periods import spelled
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Table
from resources.asset_parts import (
    Part,
    dep,
    key_of,
    materialized,
    materialized_parts,
    periods_in,
    product_asset,
    report_parts,
    rows_metadata,
    table,
)
from resources.feature_engine import FeatureEngine
from resources.platform import Platform

if TYPE_CHECKING:
    import polars as pl

    from mlops_assets.state.workspace import ProductState

GROUP = "data"
CHECKS = ("contract", "rows_accounted_for", "reaches_the_end")  # of a source table


def build_data_assets(product: ModelProduct) -> list[dg.AssetsDefinition]:
    return [
        *(_source_table(product, name, declared) for name, declared in tables_of(product).items()),
        _labels(product),
        _features(product),
        _online_features(product),
    ]


def raw_assets(product: ModelProduct) -> list[str]:
    return list(tables_of(product))


def _source_table(product: ModelProduct, name: str, declared: Table) -> dg.AssetsDefinition:
    key = key_of(product, name)

    @product_asset(
        product,
        name,
        GROUP,
        build_data_assets,
        kinds={"polars", "parquet"},
        description=f"{declared.description} As the source gave it; stored only when it keeps its contract.",
        check_specs=[
            dg.AssetCheckSpec(
                "contract",
                asset=key,
                blocking=True,
                description="Types, nulls, ranges, categories, unique key, foreign keys, freshness, usual row count.",
            ),
            dg.AssetCheckSpec(
                "rows_accounted_for", asset=key, blocking=True, description="Rows in = rows stored + rows quarantined."
            ),
            dg.AssetCheckSpec(
                "reaches_the_end",
                asset=key,
                description="How much of the period lies before its newest row: a delivery that ends early may have been cut off.",
            ),
        ],
        output_required=False,
        many_at_once=True,
    )
    def source_table(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[object]:
        from mlops_assets.features.validation import validate_product

        validate_product(product)  # before a row is read: what is misspelt is said here, and not by what comes later
        state = platform.state_of(product)
        parts: dict[str, Part] = {}
        refused: dict[str, DataError] = {}
        found: list[dg.AssetCheckResult] = []
        for period_key in context.partition_keys:
            try:
                parts[period_key], checks = _store_period(state, name, declared, period_key)
                found += checks
            except _Refused as error:
                refused[period_key] = error.error
                found += error.checks
        if refused:
            # what the run says is the reason; what stands in a check alone is found only by who looks for it
            report_parts(context, key, parts)
            yield from _combined(found)
            first, *others = refused.values()
            more = f" ({', '.join(list(refused)[1:])} failed as well)" if others else ""
            raise type(first)(f"{first}{more}") from None
        yield materialized_parts(context, key, parts)
        yield from _combined(found)

    return source_table


class _Refused(Exception):
    """A period is not stored. checks: what they say of it."""

    def __init__(self, error: DataError, *checks: dg.AssetCheckResult) -> None:
        self.error, self.checks = error, checks
        super().__init__(str(error))


def _store_period(
    state: "ProductState", name: str, declared: Table, period_key: str
) -> tuple[Part, list[dg.AssetCheckResult]]:
    """One period of a source table. Raises _Refused: it breaks its contract, or has not arrived."""
    from mlops_assets.data.arrived import why_not_arrived
    from mlops_assets.data.cut_off import reach
    from mlops_assets.data.gaps import ALLOWED, how_to_allow, is_gap
    from mlops_assets.data.ingest import (
        is_without_rows,
        read_period,
        store_period,
        store_without_rows,
    )

    product = state.product
    key, period, now = key_of(product, name), product.period.at(period_key), state.clock.now()

    def checked(check: str, passed: bool, said: str, **metadata: Any) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            asset_key=key,
            check_name=check,
            passed=passed,
            severity=dg.AssetCheckSeverity.ERROR,
            description=said,
            metadata=metadata,
        )

    def without_rows(said: str) -> tuple[Part, list[dg.AssetCheckResult]]:
        version, empty = store_without_rows(state.tables, name, declared, period)
        state.incomplete.forget(period.key)
        return Part(version, {**rows_metadata(empty), "skipped": said}), [
            checked(check, True, said) for check in CHECKS
        ]

    skipped = state.skipped.load(period.key) if state.skipped.has(period.key) else None
    if skipped is not None and skipped.by != ALLOWED:
        return without_rows(f"skipped by {skipped.by}: {skipped.reason}")
    if is_gap(product, period, now):
        said = "the source has nothing of it, and a later period has arrived"
        state.skipped.note_gap(period.key, said, ALLOWED)
        return without_rows(f"a gap: {said}")
    if not product.source.has_arrived(period, now):
        raise _Refused(
            NotArrived(
                f"{product.name}: {why_not_arrived(product, period, now).rstrip('.')}. Materialise it once it has arrived, or leave it to "
                "the sensor."
            )
        )
    try:
        result = read_period(state, name, declared, period)
    except ContractBroken as error:
        raise _Refused(error, checked("contract", False, str(error))) from None
    except NotArrived as error:
        state.incomplete.note(period.key, str(error), now)
        raise _Refused(error) from None
    is_main = declared.name == product.source.main.name
    if result.rows == 0 and product.gaps == "allow" and is_without_rows(product.source, period):
        said = f"the source has no row of {product.source.main.name} in it"
        state.skipped.note_gap(period.key, said, ALLOWED)
        return without_rows(f"a gap: {said}")
    if skipped is not None and is_main:
        state.skipped.end_gap(period.key)
    broken = [
        {"column": item.column, "rule": item.rule, "rows": item.rows, "examples": list(item.examples)}
        for item in result.violations
    ]
    said = f"{result.reason}. {how_to_allow(product, period)}" if is_main and not result.rows else result.reason
    contract = checked(
        "contract",
        result.kept,
        said,
        rows=result.rows,
        **{"quarantined share": result.quarantined_share, "limit": declared.max_quarantined_share},
        violations=table(broken),
    )
    if not result.kept:
        raise _Refused(ContractBroken(said), contract)
    version, counted = store_period(state.tables, name, result, period)
    metadata = {**rows_metadata(result.accepted), "quarantined rows": counted.rows_quarantined}
    is_whole, how_far = reach(declared, period, result.accepted[declared.event_timestamp])
    if is_main:
        state.incomplete.forget(period.key)
    if not is_whole:
        how_far += f". If the delivery was cut off, materialise {period.key} again once it is whole."
    return Part(version, metadata), [
        contract,
        checked("rows_accounted_for", counted.is_complete, counted.reason),
        checked("reaches_the_end", is_whole, how_far)._replace(severity=dg.AssetCheckSeverity.WARN),
    ]


def _combined(results: Sequence[dg.AssetCheckResult]) -> Iterator[dg.AssetCheckResult]:
    """One result of each check: of several periods the first that failed, or what is said of the last."""
    for name in dict.fromkeys(str(item.check_name) for item in results):
        same = [item for item in results if item.check_name == name]
        failed = [item for item in same if not item.passed]
        if len(same) == 1 or failed:
            yield (failed or same)[0]
        else:
            description = f"{len(same)} periods; the last: {same[-1].description}"
            yield same[-1]._replace(description=description)


def _labels(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        "labels",
        GROUP,
        build_data_assets,
        kinds={"polars", "parquet"},
        description=f"Observed `{product.label.name}`, known {spelled(product.label.delay)} after the event; where the source "
        "says nothing, what clients reported to the API.",
        deps=[dep(product, "raw")],
        code=repr(product.label.expression),
        many_at_once=True,
    )
    def labels(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
        state = platform.state_of(product)
        parts = {period_key: _label_period(state, period_key) for period_key in context.partition_keys}
        return materialized_parts(context, key_of(product, "labels"), parts)

    return labels


def _label_period(state: "ProductState", period_key: str) -> Part:
    from mlops_assets.data.labels import LABEL, known_labels, with_reported_labels

    product = state.product
    raw = state.tables.read("raw", [period_key])
    known = known_labels(product, raw.lazy(), state.clock.now())
    period = product.period.at(period_key)
    reported, of_clients, ambiguous = state.labels.read(product.name, period.start), 0, 0
    if not reported.is_empty():
        logged = state.predictions.read(product.name, period.start - product.serving.asked_ahead)
        known, of_clients, ambiguous = with_reported_labels(product, known, raw, logged, reported)
    version = state.tables.write("labels", period_key, known)
    never_came = known[LABEL].null_count()
    mean = known[LABEL].mean() if known[LABEL].dtype.is_numeric() else None
    metadata = {
        **rows_metadata(known),
        "labelled rows": known.height - never_came,
        "rows whose label never came": never_came,
        "rows still waiting": raw.height - known.height,
        "labels reported to the API": of_clients,
        "reported again with another value": int(reported["is_corrected"].sum()),
        "reported of an id of several rows, not taken": ambiguous,
        **({f"mean {product.label.name} {product.label.unit}".strip(): float(mean)} if isinstance(mean, float) else {}),
    }
    return Part(version, metadata)


def _features(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        "features",
        GROUP,
        build_data_assets,
        kinds={"polars", "parquet"},
        description="Model inputs of every row, point-in-time correct:\n\n"
        + "\n".join(f"- **{view.name}**: {', '.join(view.names)}. {view.description}" for view in product.features),
        deps=[dep(product, name, first=-periods_in(product, product.lookback)) for name in raw_assets(product)],
        check_specs=[
            dg.AssetCheckSpec(
                "online_path_agrees",
                asset=key_of(product, "features"),
                blocking=True,
                description="A sample of the rows through the API's own code, each at its own moment, gives what is stored.",
            ),
            dg.AssetCheckSpec(
                "no_leak_from_the_future",
                asset=key_of(product, "features"),
                blocking=True,
                description="What was learned or happened later is shuffled: no feature before changes.",
            ),
        ],
        many_at_once=True,
    )
    def features(
        context: dg.AssetExecutionContext, platform: Platform, feature_engine: FeatureEngine
    ) -> Iterator[object]:
        state, key = platform.state_of(product), key_of(product, "features")
        parts: dict[str, Part] = {}
        found: list[dg.AssetCheckResult] = []
        for period_key in context.partition_keys:
            parts[period_key], checks = _build_period(state, period_key, feature_engine)
            found += checks
            if many := parts[period_key].metadata["features of very many categories"]:
                context.log.warning(f"{period_key}: {many}")
        yield materialized_parts(context, key, parts)
        yield from _combined(found)

    return features


def _build_period(
    state: "ProductState", period_key: str, engine: FeatureEngine
) -> tuple[Part, list[dg.AssetCheckResult]]:
    from mlops_assets.features.categories import many_categories
    from mlops_assets.features.checks import check_another_future, check_online_path

    product = state.product
    frame = _built(state, period_key, engine)
    version = state.tables.write("features", period_key, frame)
    nulls = [
        {"feature": name, "null %": 100 * frame[name].null_count() / max(1, frame.height)}
        for name in product.feature_names
    ]
    metadata = {
        **rows_metadata(frame),
        "features": len(product.inputs),
        "engine": engine.engine.value,
        "nulls": table(nulls),
        "features of very many categories": many_categories(product, frame) or None,
    }
    rows = state.tables.scan("raw", [period_key]).select(product.request).collect()
    tables = tables_with_lookback(state, period_key)
    checks = []
    for name, check in (("online_path_agrees", check_online_path), ("no_leak_from_the_future", check_another_future)):
        checked = check(product, rows, tables, frame)
        checks.append(
            dg.AssetCheckResult(
                asset_key=key_of(product, "features"),
                check_name=name,
                passed=checked.holds,
                severity=dg.AssetCheckSeverity.ERROR,
                description=checked.reason,
                metadata={"rows": checked.rows, "features that differ": [item.feature for item in checked.differences]},
            )
        )
    return Part(version, metadata), checks


def _built(state: "ProductState", key: str, engine: FeatureEngine) -> "pl.DataFrame":
    """The period's features, by the engine that is configured: the rows are the same."""
    if session := engine.session:
        from mlops_assets.data.stored_features import features_on_spark

        return features_on_spark(session, state, key)
    from mlops_assets.features.build import build_features, require_finite

    product = state.product
    rows = state.tables.scan("raw", [key]).select(product.request)
    built = build_features(product, rows, tables_with_lookback(state, key))
    return require_finite(product, built)


def _online_features(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        "online_features",
        GROUP,
        build_data_assets,
        kinds={"sqlite"},
        description="Newest value per key of what a request cannot carry itself:\n\n"
        + "\n".join(
            f"- **{view.name}** by {', '.join(view.key)}, lives {view.time_to_live}" for view in product.lookups
        ),
        many_at_once=True,
        deps=[dep(product, name, first=-periods_in(product, product.lookback)) for name in raw_assets(product)],
    )
    def online_features(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
        from mlops_assets.data.stored_online import fill_online

        # the newest values are those of the last period of several
        filled, version = fill_online(platform.state_of(product), context.partition_keys[-1])
        return materialized(
            metadata={"views": table([asdict(item) for item in filled]), "keys": sum(item.keys for item in filled)},
            version=version,
        )

    return online_features
