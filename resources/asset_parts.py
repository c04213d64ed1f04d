"""The parts that all generated assets share: partitions, mappings, owners, tags, code references, metadata."""

import base64
import hashlib
import inspect
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.products.periods import Periods
from mlops_assets.products.product import ModelProduct
from resources.retrying import retrying

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

PREVIEW_ROWS, PREVIEW_COLUMNS = 5, 12


def partitions_of(periods: Periods) -> dg.TimeWindowPartitionsDefinition:
    """The product's periods as Dagster partitions with the same keys.

    The running period is one of them: a model that is retrained when a period ends has the key of the next one."""
    schedule, start = periods.schedule.expression, periods.start.strftime("%Y-%m-%d")
    # daily and weekly partitions keep their first form, to which Dagster's stored partitions belong
    if schedule.startswith("0 0 * * "):
        end = periods.end.strftime("%Y-%m-%d") if periods.end else None
        if periods.length == timedelta(days=1):
            return dg.DailyPartitionsDefinition(start_date=start, end_date=end, end_offset=1)
        if periods.length == timedelta(weeks=1):
            # Dagster counts weekdays from Sunday as 0
            return dg.WeeklyPartitionsDefinition(
                start_date=start, end_date=end, day_offset=periods.start.isoweekday() % 7, end_offset=1
            )
    return dg.TimeWindowPartitionsDefinition(
        start=periods.start,
        end=periods.end,
        fmt=periods.key_format,
        cron_schedule=schedule,
        timezone="UTC",
        end_offset=1,
    )


def key_of(product: ModelProduct, asset: str) -> dg.AssetKey:
    return dg.AssetKey([product.name, asset])


def dep(product: ModelProduct, asset: str, *, first: int = 0, last: int = 0) -> dg.AssetDep:
    """A dependency on the partitions from `first` to `last`, relative to the asset's own (-1: the previous period)."""
    with _beta():
        mapping = dg.TimeWindowPartitionMapping(
            start_offset=first, end_offset=last, allow_nonexistent_upstream_partitions=True
        )
    return dg.AssetDep(key_of(product, asset), partition_mapping=mapping if (first, last) != (0, 0) else None)


def periods_in(product: ModelProduct, window: timedelta) -> int:
    """How many periods cover `window`."""
    return product.period.covering(window)


def product_asset(
    product: ModelProduct,
    asset: str,
    group: str,
    factory: Callable[..., object],
    *,
    kinds: set[str],
    description: str,
    partitioned: bool = True,
    deps: Sequence[dg.AssetDep] = (),
    code: str = "1",
    check_specs: Sequence[dg.AssetCheckSpec] = (),
    output_required: bool = True,
    many_at_once: bool = False,
) -> Callable[[Callable[..., object]], dg.AssetsDefinition]:
    """`dg.asset` with the settings that all assets of a product share; a step is repeated after a transient error.

    many_at_once: one run may get a range of partitions, `context.partition_keys`, as in a back-fill."""
    with _beta():
        asset_of = dg.asset(
            key=key_of(product, asset),
            group_name=f"{product.name}_{group}",
            kinds=kinds,
            owners=[product.owner],
            tags={"product": product.name, "pipeline": group, "task": product.task.value},
            description=description,
            code_version=code,
            partitions_def=partitions_of(product.period) if partitioned else None,
            deps=list(deps),
            metadata={"dagster/code_references": _code_references(product, factory)},
            check_specs=list(check_specs),
            output_required=output_required,
            backfill_policy=dg.BackfillPolicy.single_run() if many_at_once else None,
        )
    return lambda compute: asset_of(retrying(compute))


def materialized(
    metadata: Mapping[str, Any], version: str | None = None, asset_key: dg.AssetKey | None = None
) -> dg.MaterializeResult[None]:
    """The result of an asset that stored data. metadata: for the UI; None is left out. version: that of the stored data, by
    which Dagster sees whether it changed."""
    return dg.MaterializeResult(
        asset_key=asset_key,
        metadata={name: value for name, value in metadata.items() if value is not None},
        data_version=None if version is None else dg.DataVersion(version),
    )


@dataclass(frozen=True)
class Part:
    """A stored partition: its data version, and metadata for the UI."""

    version: str
    metadata: Mapping[str, Any]


def materialized_parts(
    context: dg.AssetExecutionContext, asset_key: dg.AssetKey, parts: Mapping[str, Part]
) -> dg.MaterializeResult[None]:
    """The result of an asset that stored these partitions, which are all partitions of its run.

    Dagster gives the partitions of one run one data version. For several it is a hash of all their versions, so that no
    changed partition looks unchanged."""
    if len(parts) == 1:
        (part,) = parts.values()
        return materialized(part.metadata, part.version, asset_key)
    for key, part in parts.items():
        context.add_asset_metadata({**part.metadata, "data version": part.version}, asset_key, partition_key=key)
    versions = hashlib.sha256("\n".join(f"{key} {part.version}" for key, part in parts.items()).encode())
    return materialized({}, versions.hexdigest()[:16], asset_key)


def report_parts(context: dg.AssetExecutionContext, asset_key: dg.AssetKey, parts: Mapping[str, Part]) -> None:
    """Report these partitions as stored, in a run that fails because of others."""
    for key, part in parts.items():
        context.log_event(
            dg.AssetMaterialization(
                asset_key, partition=key, metadata=part.metadata, tags={"dagster/data_version": part.version}
            )
        )


def rows_metadata(frame: "pl.DataFrame") -> dict[str, Any]:
    """Row count, schema and the first rows as a table."""
    columns = [dg.TableColumn(name, str(kind)) for name, kind in frame.schema.items()]
    return {
        "dagster/row_count": frame.height,
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "preview of rows": table(frame.head(PREVIEW_ROWS)[:, :PREVIEW_COLUMNS].to_dicts()),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> dg.MetadataValue[Any]:
    """A Markdown table; numbers have four digits."""
    if not rows:
        return dg.MetadataValue.md("*no rows*")
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(_cell(row[name]) for name in names)} |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def picture(figure: "Figure") -> dg.MetadataValue[Any]:
    """A plot as a Markdown image that the UI shows in place."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=80, bbox_inches="tight")
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{base64.b64encode(image.getvalue()).decode()})")


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _code_references(product: ModelProduct, factory: Callable[..., object]) -> dg.CodeReferencesMetadataValue:
    declared = product.declared_at
    with _beta():
        return dg.CodeReferencesMetadataValue(
            code_references=[
                dg.LocalFileCodeReference(
                    file_path=inspect.getsourcefile(factory) or "",
                    line_number=inspect.getsourcelines(factory)[1],
                    label="factory",
                ),
                dg.LocalFileCodeReference(file_path=declared.file, line_number=declared.line, label="declaration"),
            ]
        )


@contextmanager
def _beta() -> Iterator[None]:
    """Code references, back-fill policies and mappings past the first partition are beta in Dagster 1.13, which warns at every use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        yield
