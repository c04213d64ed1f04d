"""Assets of the data pipeline: source tables, labels, features, online features."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import dagster as dg

from mlops_assets.data.stored_tables import has_rows_by, tables_of, tables_with_lookback
from mlops_assets.errors import DataError, PartitionMissing
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

    from mlops_assets.data.stored_labels import StoredLabels
    from mlops_assets.data.stored_source import Checked, StoredPeriod
    from mlops_assets.state.workspace import ProductState

GROUP = "data"
WAITS = "its raw rows are not stored yet"


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
                "reaches_the_end",
                asset=key,
                description="How much of the period lies before its newest row: a delivery that ends early may have been cut off.",
            ),
        ],
        output_required=False,
        many_at_once=True,
    )
    def source_table(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[object]:
        from mlops_assets.data.stored_source import Refused, store_source_period
        from mlops_assets.features.validation import validate_product

        validate_product(product)  # a misspelt column is reported before any row is read
        state = platform.state_of(product)
        parts: dict[str, Part] = {}
        refused: dict[str, DataError] = {}
        checks: list[dg.AssetCheckResult] = []
        for period_key in context.partition_keys:
            try:
                stored = store_source_period(state, name, declared, period_key)
                parts[period_key] = _part_of(stored)
                checks += [_check_result(key, checked) for checked in stored.checks]
            except Refused as error:
                refused[period_key] = error.error
                checks += [_check_result(key, checked) for checked in error.checks]
        if refused:
            # the run fails with the reason, as a reason that stands in a check alone is easily overlooked
            report_parts(context, key, parts)
            yield from _combined(checks)
            first, *others = refused.values()
            more = f" ({', '.join(list(refused)[1:])} failed as well)" if others else ""
            raise type(first)(f"{first}{more}") from None
        yield materialized_parts(context, key, parts)
        yield from _combined(checks)

    return source_table


def _part_of(stored: "StoredPeriod") -> Part:
    if stored.skipped:
        return Part(stored.version, {**rows_metadata(stored.rows), "skipped": stored.skipped})
    return Part(stored.version, {**rows_metadata(stored.rows), "quarantined rows": stored.quarantined})


def _check_result(key: dg.AssetKey, checked: "Checked") -> dg.AssetCheckResult:
    broken = {} if checked.violations is None else {"violations": table(checked.violations)}
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=checked.check,
        passed=checked.passed,
        severity=dg.AssetCheckSeverity.WARN if checked.is_warning else dg.AssetCheckSeverity.ERROR,
        description=checked.seen,
        metadata={**checked.metadata, **broken},
    )


def _combined(results: Sequence[dg.AssetCheckResult]) -> Iterator[dg.AssetCheckResult]:
    """One result of each check. Of several periods this is the first failure, or else the result of the last period."""
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
        from mlops_assets.data.stored_labels import store_labels

        state = platform.state_of(product)
        parts = {key: _part_of_labels(product, store_labels(state, key)) for key in context.partition_keys}
        return materialized_parts(context, key_of(product, "labels"), parts)

    return labels


def _part_of_labels(product: ModelProduct, stored: "StoredLabels") -> Part:
    mean = {} if stored.mean is None else {f"mean {product.label.name} {product.label.unit}".strip(): stored.mean}
    metadata = {
        **rows_metadata(stored.labels),
        "labelled rows": stored.labels.height - stored.without_outcome,
        "rows whose label never came": stored.without_outcome,
        "rows still waiting": stored.waiting,
        "labels reported to the API": stored.reported,
        "reported again with another value": stored.corrected,
        "reported of an id of several rows, not taken": stored.ambiguous,
        **mean,
    }
    return Part(stored.version, metadata)


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
        check_results: list[dg.AssetCheckResult] = []
        for period_key in context.partition_keys:
            try:
                parts[period_key], checks = _build_period(state, period_key, feature_engine)
            except PartitionMissing:
                if parts and not has_rows_by(state, period_key):
                    context.log.warning(f"{period_key}: {WAITS}")
                    parts[period_key] = Part(WAITS, {"dagster/row_count": 0, "not built": WAITS})
                    continue
                report_parts(context, key, parts)
                raise
            check_results += checks
            if many := parts[period_key].metadata["features of very many categories"]:
                context.log.warning(f"{period_key}: {many}")
        yield materialized_parts(context, key, parts)
        yield from _combined(check_results)

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
    """The features of the period, built by the configured engine. Both engines give the same rows."""
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

        state, keys = platform.state_of(product), context.partition_keys
        # of several periods, the last one holds the newest values
        newest = next((key for key in reversed(keys) if has_rows_by(state, key)), keys[-1])
        filled, version = fill_online(state, newest)
        return materialized(
            metadata={"views": table([asdict(item) for item in filled]), "keys": sum(item.keys for item in filled)},
            version=version,
        )

    return online_features
