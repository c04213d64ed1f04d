"""Builders: bundles of the taxi product whose answers can be worked out by hand, and an accepted version."""

from datetime import datetime

import msgspec
import polars as pl

from mlops_assets.features.opening import open_bundle
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.product import ModelProduct
from mlops_assets.records import testing as reports
from mlops_assets.records.testing import Leakage, StagingReport
from mlops_assets.records.training import ModelRecord
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.workspace import ProductState
from mlops_assets.testing.run import accept_partition
from tests.tiny_bundle import tiny_files, tiny_manifest, write_tiny_bundle

KEY = "2020-01-09"


def a_bundle(state: ProductState, version: int = 1, *, weight: float = 0.0, bias: float = 0.0) -> Bundle:
    """It scores the sigmoid of weight * (code of the origin + distance) + bias."""
    write_tiny_bundle(state, version, weight=weight, bias=bias)
    return open_bundle(state, version)


def inputs_of(product: ModelProduct, **columns: object) -> pl.DataFrame:
    kinds = {f.name: pl.String if f.kind is FeatureKind.CATEGORICAL else pl.Float64 for f in product.inputs}
    return pl.DataFrame(columns, schema_overrides=kinds)


def a_test_report(version: int = 1, roc_auc: float = 0.8) -> reports.TestReport:
    scores = (reports.Scored("roc_auc", roc_auc, roc_auc - 0.02, roc_auc + 0.02),)
    return reports.TestReport(
        "taxi",
        version,
        KEY,
        300,
        scores,
        (),
        (),
        {},
        0.0,
        (),
        None,
        None,
        (),
        0,
        Leakage({"distance": 0.2}, 0),
        None,
        0,
        0,
    )


def a_staging_report(version: int = 1, **changes: object) -> StagingReport:
    return msgspec.structs.replace(StagingReport("taxi", version, 100, 0.0, 2.0, 5.0, 80.0, 0.5, True, None), **changes)


def a_tested_version(state: ProductState, now: datetime, version: int = 1, roc_auc: float = 0.8) -> None:
    """Trained, tested and staged in the partition `KEY`, and answered by acceptance."""
    state.workspace.replay_clock.set(now)
    manifest = msgspec.structs.replace(tiny_manifest(state.product, version), partition=KEY)
    state.bundles.write(manifest, tiny_files(state.product))
    state.records.save(KEY, ModelRecord(version))
    state.records.save(KEY, a_test_report(version, roc_auc))
    state.records.save(KEY, a_staging_report(version))
    state.records.save(KEY, accept_partition(state, KEY))
