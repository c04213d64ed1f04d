"""Loads what the tests of a partition need, runs them, and reads their answers back."""

import hashlib

import polars as pl

from mlops_assets.errors import ApprovalRefused, NoChampion, PartitionMissing
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.approvals import Approval, Verdict
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import ESTIMATOR, MANIFEST, Bundle, read_manifest
from mlops_assets.testing.acceptance import AcceptanceRecord, AcceptanceState, accept
from mlops_assets.testing.gates import GateResult, judge_latency, judge_report
from mlops_assets.testing.pages import page_path, render_test_report, save_card
from mlops_assets.testing.parity import measure_parity
from mlops_assets.testing.report import TestReport, test_model
from mlops_assets.testing.staging import LARGEST_SKEW, StagingReport, stage
from mlops_assets.training.fit import estimator_scores
from mlops_assets.training.recipe import RECIPE, Recipe, recipe_key
from mlops_assets.training.register import MODEL, ModelRecord
from mlops_assets.training.split import FIT, SPLIT, TEST

STAGED_ROWS = 1_000
ACCEPTANCE = "acceptance"


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
    training_set = home.offline.read(f"{product.name}/training_set", [key])
    rows, fit_rows = (training_set.filter(pl.col(SPLIT) == split) for split in (TEST, FIT))
    estimator = _estimator(bundle)
    parity = measure_parity(bundle, lambda matrix: estimator_scores(estimator, product.task, matrix), rows)
    return test_model(product, bundle, parity, champion_bundle(product, home), rows, fit_rows)


def describe_partition(
    product: ModelProduct,
    home: Home,
    key: str,
    report: TestReport,
    gates: tuple[GateResult, ...],
    *,
    with_page: bool,
) -> str:
    """Write the model card and, if wanted, Evidently's page of a report that was just made; returns the card."""
    challenger = trained_bundle(product, home, key)
    if with_page:
        rows = home.offline.scan(f"{product.name}/training_set", [key]).filter(pl.col(SPLIT) == TEST).collect()
        champion = champion_bundle(product, home)
        render_test_report(product, report, gates, challenger, champion, rows, page_path(home, product.name, key))
    manifest = challenger.manifest
    recipe_version = recipe_key(manifest.recipe_version)
    has_recipe = home.documents.has(product.name, RECIPE, recipe_version)
    recipe = home.documents.load(product.name, RECIPE, recipe_version, Recipe) if has_recipe else None
    return save_card(product, home, manifest, report, gates, recipe)


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


def accept_partition(product: ModelProduct, home: Home, key: str, approval_key: str = "") -> AcceptanceRecord:
    """Judge every gate anew on the stored reports, ask for a person's answer where one is needed, and accept or refuse.

    approval_key: what answers are signed with; empty: the key in the home."""
    report = home.documents.load(product.name, "test_report", key, TestReport)
    staged = home.documents.load(product.name, "staging_report", key, StagingReport)
    version = home.documents.load(product.name, MODEL, key, ModelRecord).version
    evidence, now = evidence_of(product, home, key, version), home.clock.now()
    gates = judge_all(product, version, report, staged)
    if product.acceptance.kind == "automatic":
        return accept(product, version, gates, evidence, now)
    book = home.approvals(approval_key)
    answer = book.newest(product.name, version, evidence, now)
    why_none = "" if answer else book.why_not(product.name, version, evidence, now)
    return accept(product, version, gates, evidence, now, answer, why_none)


def open_partitions(product: ModelProduct, home: Home) -> dict[str, AcceptanceState]:
    """Partitions whose acceptance a person may still change, oldest first, with the state that is stored."""
    stored = {
        key: home.documents.load(product.name, ACCEPTANCE, key, AcceptanceRecord).state
        for key in home.documents.keys(product.name, ACCEPTANCE)
    }
    changeable = (AcceptanceState.WAITING, AcceptanceState.REJECTED)
    return {key: state for key, state in stored.items() if state is not None and state in changeable}


def evidence_of(product: ModelProduct, home: Home, key: str, version: int) -> dict[str, str]:
    """SHA-256 of what an answer rests on: both reports and the manifest, which holds the bundle's checksums."""
    paths = {name: home.documents.path(product.name, name, key) for name in ("test_report", "staging_report")}
    paths["bundle"] = home.bundle(product.name, version) / MANIFEST
    for name, path in paths.items():
        if not path.exists():
            raise PartitionMissing(f"{product.name}/{name}", [key])
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}


def answer_version(
    product: ModelProduct, home: Home, version: int, verdict: Verdict, by: str, note: str, approval_key: str = ""
) -> Approval:
    """A person's signed answer to a version that waits. Raises ApprovalRefused: nothing waits for an answer, with why."""
    if product.acceptance.kind != "manual":
        raise ApprovalRefused(
            f"acceptance of {product.name} is automatic: its gates decide, and nobody is asked. Declare "
            "acceptance=manual() to be asked."
        )
    key = read_manifest(home.bundle(product.name, version)).partition
    if (trained := home.documents.load(product.name, MODEL, key, ModelRecord).version) != version:
        raise ApprovalRefused(
            f"version {version} of {product.name} was trained again for {key} as version {trained}. Answer that one."
        )
    record = accept_partition(product, home, key, approval_key)
    if record.state is AcceptanceState.REFUSED:
        raise ApprovalRefused(
            f"version {version} of {product.name} cannot be answered: {record.reason}. What failed a gate is not approved."
        )
    return home.approvals(approval_key).answer(
        product=product.name,
        version=version,
        partition=key,
        verdict=verdict,
        by=by,
        note=note,
        at=home.clock.now(),
        valid_for=product.acceptance.valid_for,
        evidence=record.evidence,
    )


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
