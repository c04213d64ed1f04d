"""Assets of the data pipeline: source tables, labels, features, online features."""

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from mlops_assets.data.stored_tables import tables_of, tables_with_lookback
from mlops_assets.errors import ContractBroken, NotArrived
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Table
from resources.asset_parts import dep, key_of, materialized, periods_in, product_asset, rows_metadata, table
from resources.feature_engine import FeatureEngine
from resources.platform import Platform

if TYPE_CHECKING:
    import polars as pl

    from mlops_assets.state.workspace import ProductState

GROUP = "data"


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
                description="Types, nulls, ranges, categories, unique key, references, freshness, usual row count.",
            ),
            dg.AssetCheckSpec(
                "rows_accounted_for", asset=key, blocking=True, description="Rows in = rows stored + rows quarantined."
            ),
        ],
        output_required=False,
    )
    def source_table(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[object]:
        from mlops_assets.data.ingest import read_period, require_found, store_period, store_without_rows

        period = product.period.at(context.partition_key)
        state = platform.state_of(product)
        if state.skipped.has(period.key):
            skipped = state.skipped.load(period.key)
            version, empty = store_without_rows(state.tables, name, declared, period)
            said = f"skipped by {skipped.by}: {skipped.reason}"
            metadata = {**rows_metadata(empty), "skipped": said}
            yield materialized(asset_key=key, metadata=metadata, version=version)
            for check in ("contract", "rows_accounted_for"):
                yield dg.AssetCheckResult(asset_key=key, check_name=check, passed=True, description=said)
            return
        now = state.clock.now()
        if not product.source.has_arrived(period, now):
            if period.end <= now:
                require_found(product.source, declared, period)
            raise NotArrived(
                f"{product.name}: the period {period.key} has not wholly arrived at {now:%Y-%m-%d %H:%M}. It ends "
                f"{period.end:%Y-%m-%d}; materialise it then, or leave it to the sensor."
            )
        try:
            result = read_period(state, name, declared, period)
        except ContractBroken as error:
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name="contract",
                passed=False,
                severity=dg.AssetCheckSeverity.ERROR,
                description=str(error),
            )
            return
        counted = None
        if result.kept:
            version, counted = store_period(state.tables, name, result, period)
            metadata = {**rows_metadata(result.accepted), "quarantined rows": counted.rows_quarantined}
            yield materialized(asset_key=key, metadata=metadata, version=version)
        broken = [
            {"column": item.column, "rule": item.rule, "rows": item.rows, "examples": list(item.examples)}
            for item in result.violations
        ]
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name="contract",
            passed=result.kept,
            severity=dg.AssetCheckSeverity.ERROR,
            description=result.reason,
            metadata={
                "rows": result.rows,
                "quarantined share": result.quarantined_share,
                "limit": declared.max_quarantined_share,
                "violations": table(broken),
            },
        )
        if counted is not None:
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name="rows_accounted_for",
                passed=counted.is_complete,
                severity=dg.AssetCheckSeverity.ERROR,
                description=counted.reason,
            )

    return source_table


def _labels(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        "labels",
        GROUP,
        build_data_assets,
        kinds={"polars", "parquet"},
        description=f"Observed `{product.label.name}`, known {product.label.delay.days} days after the event; where the source "
        "says nothing, what clients reported to the API.",
        deps=[dep(product, "raw")],
        code=repr(product.label.expression),
    )
    def labels(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
        from mlops_assets.data.labels import LABEL, known_labels, with_reported_labels

        state = platform.state_of(product)
        raw = state.tables.read("raw", [context.partition_key])
        known = known_labels(product, raw.lazy(), state.clock.now())
        period = product.period.at(context.partition_key)
        reported, of_clients, ambiguous = state.labels.read(product.name, period.start), 0, 0
        if not reported.is_empty():
            logged = state.predictions.read(product.name, period.start - product.serving.asked_ahead)
            known, of_clients, ambiguous = with_reported_labels(product, known, raw, logged, reported)
        version = state.tables.write("labels", context.partition_key, known)
        never_came = known[LABEL].null_count()
        mean = known[LABEL].mean() if known[LABEL].dtype.is_numeric() else None
        return materialized(
            metadata={
                **rows_metadata(known),
                "labelled rows": known.height - never_came,
                "rows whose label never came": never_came,
                "rows still waiting": raw.height - known.height,
                "labels reported to the API": of_clients,
                "reported again with another value": int(reported["is_corrected"].sum()),
                "reported of an id of several rows, not taken": ambiguous,
                **(
                    {f"mean {product.label.name} {product.label.unit}".strip(): float(mean)}
                    if isinstance(mean, float)
                    else {}
                ),
            },
            version=version,
        )

    return labels


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
    )
    def features(
        context: dg.AssetExecutionContext, platform: Platform, feature_engine: FeatureEngine
    ) -> Iterator[object]:
        from mlops_assets.features.checks import check_another_future, check_online_path

        state = platform.state_of(product)
        frame = _built(state, context.partition_key, feature_engine)
        version = state.tables.write("features", context.partition_key, frame)
        nulls = [
            {"feature": name, "null %": 100 * frame[name].null_count() / max(1, frame.height)}
            for name in product.feature_names
        ]
        yield materialized(
            asset_key=key_of(product, "features"),
            metadata={
                **rows_metadata(frame),
                "features": len(product.inputs),
                "engine": feature_engine.engine.value,
                "nulls": table(nulls),
            },
            version=version,
        )
        rows = state.tables.scan("raw", [context.partition_key]).select(product.request).collect()
        tables = tables_with_lookback(state, context.partition_key)
        for name, check in (
            ("online_path_agrees", check_online_path),
            ("no_leak_from_the_future", check_another_future),
        ):
            checked = check(product, rows, tables, frame)
            yield dg.AssetCheckResult(
                asset_key=key_of(product, "features"),
                check_name=name,
                passed=checked.holds,
                severity=dg.AssetCheckSeverity.ERROR,
                description=checked.reason,
                metadata={"rows": checked.rows, "features that differ": [item.feature for item in checked.differences]},
            )

    return features


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
        deps=[dep(product, name, first=-periods_in(product, product.lookback)) for name in raw_assets(product)],
    )
    def online_features(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
        from mlops_assets.features.build import newest_per_key

        state = platform.state_of(product)
        online = state.online
        tables = tables_with_lookback(state, context.partition_key)
        written = []
        content = hashlib.sha256()
        for view in product.lookups:
            newest = newest_per_key(view, tables, state.clock.now())
            content.update(newest.write_ndjson().encode())
            changed = online.write(product.name, view, newest)
            written.append(
                {
                    "view": view.name,
                    "keys": newest.height,
                    "changed": changed,
                    "newest": str(online.freshness(product.name, view)),
                }
            )
        online.close()
        return materialized(
            metadata={"views": table(written), "keys": sum(int(str(row["keys"])) for row in written)},
            version=content.hexdigest()[:16],
        )

    return online_features
