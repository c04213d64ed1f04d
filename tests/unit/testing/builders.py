"""Builders: bundles of the taxi product whose answers can be worked out by hand, and an accepted version."""

from datetime import datetime

import msgspec
import polars as pl

from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.clock import ReplayClock
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import MANIFEST, Bundle
from mlops_assets.testing import report as reports
from mlops_assets.testing.run import accept_partition
from mlops_assets.testing.staging import StagingReport
from mlops_assets.training.register import MODEL, ModelRecord
from tests.tiny_bundle import write_tiny_bundle

KEY = "2020-01-09"


def a_bundle(home: Home, product: ModelProduct, version: int = 1, *, weight: float = 0.0, bias: float = 0.0) -> Bundle:
    """It scores the sigmoid of weight * (code of the origin + distance) + bias."""
    write_tiny_bundle(home.bundle(product.name, version), product, version, weight=weight, bias=bias)
    return Bundle.open(home.bundle(product.name, version), product)


def inputs_of(product: ModelProduct, **columns: object) -> pl.DataFrame:
    kinds = {f.name: pl.String if f.kind is FeatureKind.CATEGORICAL else pl.Float64 for f in product.inputs}
    return pl.DataFrame(columns, schema_overrides=kinds)


def a_test_report(version: int = 1, roc_auc: float = 0.8) -> reports.TestReport:
    scores = (reports.Scored("roc_auc", roc_auc, roc_auc - 0.02, roc_auc + 0.02),)
    return reports.TestReport("taxi", version, KEY, 300, scores, (), (), {}, 0.0, ())


def a_staging_report(version: int = 1) -> StagingReport:
    return StagingReport("taxi", version, 100, 0.0, 2.0, 5.0, 80.0, 0.5, True)


def a_tested_version(home: Home, product: ModelProduct, now: datetime, version: int = 1, roc_auc: float = 0.8) -> None:
    """Trained, tested and staged in the partition `KEY`, and answered by acceptance."""
    ReplayClock(home.clock_file).set(now)
    a_bundle(home, product, version)
    manifest = home.bundle(product.name, version) / MANIFEST
    manifest.write_text(manifest.read_text().replace("2013-04-22", KEY))
    home.documents.save(product.name, MODEL, KEY, ModelRecord(version))
    home.documents.save(product.name, "test_report", KEY, a_test_report(version, roc_auc))
    home.documents.save(product.name, "staging_report", KEY, a_staging_report(version))
    home.documents.save(product.name, "acceptance", KEY, accept_partition(product, home, KEY))


def changed(home: Home, product: ModelProduct, asset: str, document: msgspec.Struct) -> None:
    """Materialise this report of the partition anew."""
    home.documents.save(product.name, asset, KEY, document)
