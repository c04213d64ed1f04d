"""Dagster's own event log: materialisations with their runs, and events outside of runs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.addresses import reason
from mlops_assets.errors import StoreError
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.workspace import Workspace
from resources.asset_parts import key_of

DATA_VERSION = "dagster/data_version"
INPUT_VERSION = "dagster/input_data_version/"


@dataclass(frozen=True)
class Materialised:
    """One event of the log. read: the data version of each input that Dagster recorded, by `product/asset`."""

    asset: str
    partition: str
    at: datetime
    run_id: str
    data_version: str
    cause: str
    facts: Mapping[str, Any]
    read: Mapping[str, str]


@contextmanager
def opened_instance(workspace: Workspace, dagster_home: str) -> Iterator[dg.DagsterInstance | None]:
    """The instance in `dagster_home` (empty: that of `mlops up` in the home); None where there is none.

    Raises StoreError: it cannot be opened."""
    folder = Path(dagster_home) if dagster_home else workspace.dagster_home
    if not (folder / "dagster.yaml").exists():
        yield None
        return
    from sqlalchemy.exc import SQLAlchemyError
    from yaml import YAMLError

    try:
        instance = dg.DagsterInstance.from_config(str(folder))
    except (dg.DagsterError, SQLAlchemyError, OSError, YAMLError) as error:
        raise StoreError(
            f"Dagster's instance in {folder} cannot be opened: {reason(error)}. Correct its dagster.yaml, or name another folder "
            "in DAGSTER_HOME."
        ) from None
    with instance:
        yield instance


class EventLog:
    """Dagster's events of one product."""

    def __init__(self, instance: dg.DagsterInstance, product: ModelProduct) -> None:
        self._instance, self._product = instance, product

    def newest(self, asset: str, partition: str | None = None, version: int | None = None) -> Materialised | None:
        """The newest event of this asset, partition and model version; None where the log has none."""
        records_filter = dg.AssetRecordsFilter(
            asset_key=key_of(self._product, asset), asset_partitions=None if partition is None else [partition]
        )
        for record in self._instance.fetch_materializations(records_filter, limit=50).records:
            event = record.asset_materialization
            if event is None:
                continue
            facts = {name: getattr(value, "value", None) for name, value in event.metadata.items()}
            if version is None or facts.get("version") == version:
                run = self._instance.get_run_by_id(record.run_id) if record.run_id else None
                tags = event.tags or {}
                return Materialised(
                    asset,
                    str(record.partition_key or ""),
                    datetime.fromtimestamp(record.timestamp, UTC),
                    record.run_id,
                    tags.get(DATA_VERSION, ""),
                    run.tags.get("mlops/cause", "") if run else "",
                    facts,
                    {
                        name.removeprefix(INPUT_VERSION): value
                        for name, value in tags.items()
                        if name.startswith(INPUT_VERSION)
                    },
                )
        return None

    def report(self, asset: str, partition: str | None, facts: Mapping[str, Any], data_version: str) -> None:
        """Record an event outside of a run, so that the asset's history in the UI shows it."""
        self._instance.report_runless_asset_event(
            dg.AssetMaterialization(
                key_of(self._product, asset),
                partition=partition,
                metadata=dict(facts),
                tags={DATA_VERSION: data_version},
            )
        )
