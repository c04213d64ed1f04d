"""Loads what the tests of a partition need, runs them, and reads their answers back."""

import polars as pl

from mlops_assets.errors import NoChampion
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import ESTIMATOR, Bundle
from mlops_assets.testing.acceptance import AcceptanceRecord, accept
from mlops_assets.testing.gates import GateResult, judge_latency, judge_report
from mlops_assets.testing.parity import measure_parity
from mlops_assets.testing.report import TestReport, test_model
from mlops_assets.testing.staging import LARGEST_SKEW, StagingReport, stage
from mlops_assets.training.fit import estimator_scores
from mlops_assets.training.register import MODEL, ModelRecord
from mlops_assets.training.split import SPLIT, TEST

STAGED_ROWS = 1_000


def trained_bundle(product: ModelProduct, home: Home, key: str) -> Bundle:
    """The bundle that the partition's model asset made."""
    version = home.documents.load(product.name, MODEL, key, ModelRecord).version
    return Bundle.open(home.bundle(product.name, version), product, threads=2)


def champion_bundle(product: ModelProduct, home: Home) -> Bundle | None:
    try:
        return Bundle.open(home.bundle(product.name, home.ledger.champion(product.name).version), threads=2)
    except NoChampion:
        return None  # the first version has nobody to be compared with


def test_partition(product: ModelProduct, home: Home, key: str) -> TestReport:
    """Test the partition's model on its unseen rows, beside the present champion."""
    bundle = trained_bundle(product, home, key)
    rows = home.offline.scan(f"{product.name}/training_set", [key]).filter(pl.col(SPLIT) == TEST).collect()
    estimator = _estimator(bundle)
    parity = measure_parity(bundle, lambda matrix: estimator_scores(estimator, product.task, matrix), rows)
    return test_model(product, bundle, parity, champion_bundle(product, home), rows)


def stage_partition(product: ModelProduct, home: Home, key: str) -> StagingReport:
    """Send unseen rows of the test window through the real API: what a request carries, and the looked-up features."""
    bundle = trained_bundle(product, home, key)
    unseen = home.offline.scan(f"{product.name}/training_set", [key]).filter(pl.col(SPLIT) == TEST)
    newest = product.period.window_before(key, product.test_window)
    raw = home.offline.scan(f"{product.name}/raw", [period.key for period in newest]).select(product.request)
    identity = list(product.entity_key)
    features = unseen.sort(product.event_timestamp, *identity).head(STAGED_ROWS).collect()
    looked_up = [name for view in product.lookups for name in view.names]
    requests = (
        features.select(*identity, *(name for name in looked_up if name not in identity))
        .lazy()
        .join(raw, on=identity, how="left", maintain_order="left")
        .select(*product.request, *looked_up)
        .collect()
    )
    return stage(product, bundle, requests, features)


def accept_partition(product: ModelProduct, home: Home, key: str) -> AcceptanceRecord:
    """Judge every gate anew on the stored reports, and accept or refuse."""
    report = home.documents.load(product.name, "test_report", key, TestReport)
    staged = home.documents.load(product.name, "staging_report", key, StagingReport)
    version = home.documents.load(product.name, MODEL, key, ModelRecord).version
    evidence = {name: home.documents.version(product.name, name, key) for name in ("test_report", "staging_report")}
    return accept(product, version, judge_all(product, version, report, staged), evidence, home.clock.now())


def judge_all(product: ModelProduct, version: int, report: TestReport, staged: StagingReport) -> tuple[GateResult, ...]:
    """Every gate on both reports, and that both speak of this version."""
    return (
        *judge_report(product, report),
        *(judge_latency(gate, staged.p99_milliseconds) for gate in product.staging_gates),
        GateResult(
            "online_equals_offline", staged.skew <= LARGEST_SKEW, staged.skew, LARGEST_SKEW, f"skew {staged.skew:.1e}"
        ),
        GateResult("refuses_a_bad_request", staged.refused_bad_request, None, 0.0, "a bad request is refused"),
        GateResult(
            "same_version",
            report.version == staged.version == version,
            None,
            0.0,
            f"model {version}, test report {report.version}, staging report {staged.version}",
        ),
    )


def _estimator(bundle: Bundle):  # type: ignore[no-untyped-def] # the user's own type
    import skops.io

    content = (bundle.folder / ESTIMATOR).read_bytes()  # checked against the manifest when the bundle was opened
    return skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))
