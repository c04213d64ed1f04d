"""Tests, stages and accepts a partition: loads the inputs from the state and runs the tests on them."""

import logging

import msgspec
import polars as pl

from mlops_assets.errors import ApprovalRefused, BundleError, NoChampion
from mlops_assets.features.opening import open_bundle
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.acceptance import AcceptanceRecord, AcceptanceState, Approval, GateResult, Verdict
from mlops_assets.records.testing import StagingReport, TestReport
from mlops_assets.records.training import ModelRecord, Recipe
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.manifest import ESTIMATOR
from mlops_assets.state.workspace import ProductState
from mlops_assets.testing.acceptance import accept
from mlops_assets.testing.gates import judge_report, judge_staging
from mlops_assets.testing.pages import render_test_report, save_card
from mlops_assets.testing.parity import measure_parity
from mlops_assets.testing.report import test_model
from mlops_assets.testing.staging import stage
from mlops_assets.training.fit import estimator_scores
from mlops_assets.training.golden import requests_of
from mlops_assets.training.recipe import recipe_key
from mlops_assets.training.serialization import loads
from mlops_assets.training.split import FIT, SPLIT, TEST

STAGED_ROWS = 1_000
_log = logging.getLogger(__name__)


def trained_bundle(state: ProductState, key: str) -> Bundle:
    """The bundle of the partition's model."""
    version = state.records.load(ModelRecord, key).version
    return open_bundle(state, version, threads=2)


def champion_bundle(state: ProductState) -> Bundle | None:
    try:
        version = state.ledger.champion().version
        return state.bundles.open(version, threads=2)
    except NoChampion:
        return None  # the first version has no champion to compare with


def test_partition(state: ProductState, key: str) -> TestReport:
    """Test the partition's model on its unseen rows, beside the present champion."""
    product = state.product
    bundle = trained_bundle(state, key)
    training_set = state.tables.read("training_set", [key])
    rows, fit_rows = (training_set.filter(pl.col(SPLIT) == split) for split in (TEST, FIT))
    estimator, calibration = loads(bundle.content(ESTIMATOR), product), bundle.manifest.calibration
    parity = measure_parity(bundle, lambda matrix: estimator_scores(estimator, product.task, matrix, calibration), rows)
    return test_model(product, bundle, parity, champion_bundle(state), rows, fit_rows)


def describe_partition(
    state: ProductState,
    key: str,
    report: TestReport,
    gates: tuple[GateResult, ...],
    *,
    with_page: bool,
) -> str:
    """Write the model card and, with_page, Evidently's page of a report; returns the text of the card."""
    product = state.product
    challenger = trained_bundle(state, key)
    if with_page:
        rows = state.tables.scan("training_set", [key]).filter(pl.col(SPLIT) == TEST).collect()
        champion = champion_bundle(state)
        with state.reports.replacing("test_report", key) as page:
            render_test_report(product, report, gates, challenger, champion, rows, page)
    manifest = challenger.manifest
    version = recipe_key(manifest.recipe_version)
    recipe = state.records.load(Recipe, version) if state.records.has(Recipe, version) else None
    return save_card(state, manifest, report, gates, recipe)


def stage_partition(state: ProductState, key: str) -> StagingReport:
    """Send rows of the test split through the real API, with their looked-up features.

    Requests to the champion alternate with them, so that a busy machine is not mistaken for a slow challenger."""
    product = state.product
    bundle = trained_bundle(state, key)
    unseen = state.tables.scan("training_set", [key]).filter(pl.col(SPLIT) == TEST)
    features = unseen.sort(product.event_timestamp, *product.entity_key).head(STAGED_ROWS).collect()
    return stage(product, bundle, requests_of(state, key, features), features, _servable_champion(state))


def accept_partition(state: ProductState, key: str) -> AcceptanceRecord:
    """Judge every gate again on the stored reports, look up a person's answer if one is needed, and accept or refuse."""
    product = state.product
    report = state.records.load(TestReport, key)
    staged = state.records.load(StagingReport, key)
    version = state.records.load(ModelRecord, key).version
    evidence, now = evidence_of(state, key, version), state.clock.now()
    gates = judge_all(product, version, report, staged)
    if product.acceptance.kind == "automatic":
        return accept(product, version, gates, evidence, now)
    book = state.approvals
    answer = book.newest(version, evidence, now)
    why_none = "" if answer else book.why_not(version, evidence, now)
    record = accept(product, version, gates, evidence, now, answer, why_none)
    # the length of the chain shows later whether answers were removed
    return msgspec.structs.replace(record, answers=book.chain().reach)


def open_partitions(state: ProductState) -> dict[str, AcceptanceState]:
    """Partitions whose acceptance a person may still change, oldest first, with the stored state.

    Partitions before the champion's can no longer be deployed. They are included only if they were answered lately, so that
    the person who answered learns the outcome."""
    history = state.ledger.history()
    keys = set(state.records.keys(AcceptanceRecord, history[-1].partition if history else ""))
    keys |= {key for key in state.approvals.recently_answered() if state.records.has(AcceptanceRecord, key)}
    ordered = sorted(keys)
    stored = {
        key: record.state
        for key, record in zip(ordered, state.records.load_all(AcceptanceRecord, ordered), strict=True)
    }
    changeable = (AcceptanceState.WAITING, AcceptanceState.REJECTED)
    return {key: state for key, state in stored.items() if state in changeable}


def evidence_of(state: ProductState, key: str, version: int) -> dict[str, str]:
    """SHA-256 of the evidence for an answer: both reports, and the manifest, which holds the bundle's checksums."""
    reports = {kind.asset: state.records.checksum(kind, key) for kind in (TestReport, StagingReport)}
    return {**reports, "bundle": state.bundles.evidence(version)}


def answer_version(state: ProductState, version: int, verdict: Verdict, by: str, note: str, through: str) -> Approval:
    """A person's signed answer to a version that waits for one. through: how the person was identified.

    Raises ApprovalRefused if the version does not wait for an answer; the message says why."""
    product = state.product
    if product.acceptance.kind != "manual":
        raise ApprovalRefused(
            f"acceptance of {product.name} is automatic: its gates decide without a person. Declare acceptance=manual() "
            "if a person shall decide."
        )
    key = state.bundles.manifest(version).partition
    if (trained := state.records.load(ModelRecord, key).version) != version:
        raise ApprovalRefused(
            f"version {version} of {product.name} was replaced: version {trained} was trained for {key} later. Answer version {trained}."
        )
    record = accept_partition(state, key)
    if record.state is AcceptanceState.INCONCLUSIVE:
        raise ApprovalRefused(
            f"version {version} of {product.name} cannot be answered yet: {record.reason}. It has to be staged again first."
        )
    if record.state is AcceptanceState.REFUSED:
        raise ApprovalRefused(
            f"version {version} of {product.name} cannot be answered: {record.reason}. A version that failed a gate cannot be approved."
        )
    return state.approvals.answer(
        version=version,
        partition=key,
        verdict=verdict,
        by=by,
        through=through,
        note=note,
        at=state.clock.now(),
        valid_for=product.acceptance.valid_for,
        evidence=record.evidence,
    )


def judge_all(product: ModelProduct, version: int, report: TestReport, staged: StagingReport) -> tuple[GateResult, ...]:
    """The verdict of every gate, and whether both reports are about this version."""
    return (
        *judge_report(product, report),
        *judge_staging(product, staged),
        GateResult(
            "same_version",
            report.version == staged.version == version,
            None,
            0.0,
            f"model {version}, test report {report.version}, staging report {staged.version}",
        ),
    )


def _servable_champion(state: ProductState) -> Bundle | None:
    """The champion, if the present code can serve it."""
    try:
        return open_bundle(state, state.ledger.champion().version)
    except NoChampion:
        return None
    except BundleError as error:
        _log.warning("staging continues without the champion as witness: %s", error)
        return None
