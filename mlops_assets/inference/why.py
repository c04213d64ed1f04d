"""Explains a version by the recorded chain from its deployment back to the raw partitions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mlops_assets.records.acceptance import AcceptanceRecord
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.record import Record
from mlops_assets.records.testing import StagingReport, TestReport
from mlops_assets.records.training import ModelRecord, Recipe
from mlops_assets.state.ledger import Deployment, terms
from mlops_assets.state.manifest import Manifest
from mlops_assets.state.workspace import ProductState
from mlops_assets.training.recipe import recipe_key

Document = TypeVar("Document", bound=Record)
Report = TypeVar("Report", AcceptanceRecord, StagingReport, TestReport)
UNKNOWN = "not recorded"


class Event(Protocol):
    """An event in Dagster's log, as far as it is used here."""

    @property
    def run_id(self) -> str: ...
    @property
    def cause(self) -> str: ...
    @property
    def data_version(self) -> str: ...


@dataclass(frozen=True)
class Step:
    """One link of the chain: the asset and its partition, facts in words, and the address of its page."""

    name: str
    facts: tuple[str, ...]
    link: str = ""


@dataclass(frozen=True)
class Places:
    """Addresses of the user interfaces, without a slash at the end."""

    dagster: str
    mlflow: str
    api: str

    def asset(self, product: str, asset: str, partition: str = "") -> str:
        return f"{self.dagster}/assets/{product}/{asset}" + (f"?partition={partition}" if partition else "")


def explain(
    state: ProductState,
    version: int | None,
    event: Callable[[str, str | None, int | None], Event | None],
    places: Places,
) -> list[Step]:
    """The chain of `version` (None: the champion), newest link first.

    event: newest event of Dagster's log for an asset, partition and model version; None if it has none.
    Raises NoChampion if nothing serves, DeclarationError if there is no such version."""
    product = state.product
    history = state.ledger.history()
    number = state.ledger.champion().version if version is None else version
    manifest = _manifest(state, number)
    key = manifest.partition
    steps = [Step("deployment", tuple(_deployments(history, number)), places.asset(product.name, "deployment", key))]
    for name, recorded in (("acceptance", _acceptance), ("staging_report", _staging), ("test_report", _test_report)):
        facts = [*recorded(state, manifest), *_log_facts(event(name, key, number))]
        steps.append(Step(f"{name} {key}", tuple(facts), places.asset(product.name, name, key)))
    trained = event(ModelRecord.asset, key, number)
    link = f"{places.mlflow}/#/models/{product.name}/versions/{number}"
    steps.append(Step(f"model version {number}", (*_model(manifest), *_log_facts(trained)), link))
    steps.append(Step("triggered by", tuple(_cause(state, trained)), places.asset(product.name, "drift_decision")))
    recipe = tuple(_recipe(state, manifest))
    steps.append(Step(f"recipe {manifest.recipe_version}", recipe, places.asset(product.name, "recipe")))
    rows = tuple(_training_set(state, manifest))
    steps.append(Step(f"training_set {key}", rows, places.asset(product.name, "training_set", key)))
    for name in ("features", "labels"):
        steps.append(Step(name, tuple(_partitions(state, manifest, name)), places.asset(product.name, name)))
    steps.append(Step("raw", tuple(_raw(state, manifest, event)), places.asset(product.name, "raw")))
    return steps


def _manifest(state: ProductState, version: int) -> Manifest:
    state.bundles.require(version)
    return state.bundles.manifest(version)


def _deployments(history: Sequence[Deployment], version: int) -> Iterator[str]:
    served = [(item, end) for item, end in terms(history) if item.version == version]
    if not served:
        yield f"version {version} never served"
    for item, end in served:
        until = f"{end:%Y-%m-%d %H:%M}" if end else "now"
        yield f"{item.deployed_at:%Y-%m-%d %H:%M} to {until}, by {item.by}: {item.reason}"
        yield f"Dagster run {item.run_id or UNKNOWN}"


def _stored(state: ProductState, kind: type[Document], key: str) -> Document | None:
    return state.records.load(kind, key) if state.records.has(kind, key) else None


def _of_version(state: ProductState, manifest: Manifest, kind: type[Report]) -> tuple[Report | None, str]:
    """The record of this version, or why there is none: records are stored by partition, so a later version replaces them."""
    record = _stored(state, kind, manifest.partition)
    if record is None or record.version == manifest.version:
        return record, UNKNOWN
    return None, f"version {record.version} replaced the record of version {manifest.version} for {manifest.partition}"


def _acceptance(state: ProductState, manifest: Manifest) -> Iterator[str]:
    record, missing = _of_version(state, manifest, AcceptanceRecord)
    if record is None:
        yield missing
        return
    yield f"{record.state} by {record.by} at {record.at:%Y-%m-%d %H:%M}: {record.reason}"
    for answer in state.approvals.answers(manifest.version):
        who = f"{answer.by}, {answer.through}," if answer.through else answer.by
        yield f"{answer.verdict} by {who} at {answer.at:%Y-%m-%d %H:%M}, signature {answer.signature[:12]}: {answer.note}"


def _staging(state: ProductState, manifest: Manifest) -> Iterator[str]:
    report, missing = _of_version(state, manifest, StagingReport)
    if report is None:
        yield missing
        return
    skew = f"largest difference to offline {report.skew:.3g} float32 steps"
    yield f"{report.rows:,} rows over HTTP, {skew}, p99 {report.p99_milliseconds:.1f} ms"


def _test_report(state: ProductState, manifest: Manifest) -> Iterator[str]:
    product = state.product
    report, missing = _of_version(state, manifest, TestReport)
    if report is None:
        yield missing
        return
    score = next(item for item in report.scores if item.metric == product.metric)
    yield f"{product.metric} {score.value:.4f} ({score.low:.4f} to {score.high:.4f}) on {report.rows:,} unseen rows"
    gain = report.against_champion(product.metric)
    yield (
        f"against champion {gain.champion_version}: {gain.gain:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
        if gain
        else "there was no champion to compare with"
    )


def _model(manifest: Manifest) -> Iterator[str]:
    settings = ", ".join(f"{name}={value}" for name, value in manifest.hyperparameters.items()) or "defaults"
    yield f"{manifest.estimator} ({settings}), {manifest.search or 'search ' + UNKNOWN}, on {manifest.rows:,} rows"
    yield f"code {manifest.git_commit or UNKNOWN}, packages {manifest.lock or UNKNOWN}, model {manifest.checksums['model.onnx'][:16]}"
    yield f"MLflow run {manifest.mlflow_run_id or UNKNOWN}"


def _log_facts(event: Event | None) -> Iterator[str]:
    yield (
        f"Dagster run {event.run_id or UNKNOWN}, data version {event.data_version}"
        if event
        else "Dagster's log has no event of it"
    )


def _cause(state: ProductState, trained: Event | None) -> Iterator[str]:
    """The decision that triggered the training run, and its reading."""
    product = state.product
    if trained is None or not trained.cause:
        yield "a run without a recorded cause: somebody started it by hand" if trained else UNKNOWN
        return
    _, period, action = trained.cause.split(":", 2)
    yield f"{action} of {period} (run tag {trained.cause})"
    if not action.startswith(("rework", "retrain")):
        return
    if action.startswith("rework"):  # development answers with the partition after the period that was decided
        period = product.period.shift(product.period.at(period), -1).key
    decision = _stored(state, DriftDecision, period)
    if decision is None:
        yield f"no drift decision is stored for {period}"
        return
    reading = "no reading" if decision.reading is None else f"reading {decision.reading:.1f} %"
    yield f"decision {decision.action} on version {decision.model_version}, {reading}: {decision.reason}"


def _recipe(state: ProductState, manifest: Manifest) -> Iterator[str]:
    recipe = _stored(state, Recipe, recipe_key(manifest.recipe_version))
    yield UNKNOWN if recipe is None else f"by {recipe.by} at {recipe.promoted_at:%Y-%m-%d %H:%M}: {recipe.reason}"
    if recipe is not None and recipe.mlflow_run_id:
        yield f"from run {recipe.mlflow_run_id}"


def _training_set(state: ProductState, manifest: Manifest) -> Iterator[str]:
    recorded = manifest.training_data_version
    if not state.tables.has("training_set", manifest.partition):
        yield f"data version {recorded}, which is no longer stored"
        return
    stored = state.tables.version("training_set", manifest.partition)
    yield f"data version {recorded}, " + ("as it is stored" if stored == recorded else f"stored now: {stored}")
    if manifest.shift_since and manifest.fitted_until and manifest.tested_from:
        yield (
            f"split for the shift since {manifest.shift_since}: fitted until {manifest.fitted_until:%Y-%m-%d}, tested from "
            f"{manifest.tested_from:%Y-%m-%d} on"
        )


def _partitions(state: ProductState, manifest: Manifest, name: str) -> Iterator[str]:
    versions = manifest.input_versions.items()
    recorded = {key.partition("/")[2]: version for key, version in versions if key.startswith(f"{name}/")}
    if not recorded:
        yield f"data versions {UNKNOWN}"
        return
    keys = sorted(recorded)
    yield f"{len(keys)} partitions, {keys[0]} ({recorded[keys[0]]}) to {keys[-1]} ({recorded[keys[-1]]})"
    changed = [
        key for key in keys if not state.tables.has(name, key) or state.tables.version(name, key) != recorded[key]
    ]
    yield f"changed since: {', '.join(changed)}" if changed else "all as they are stored"


def _raw(
    state: ProductState, manifest: Manifest, event: Callable[[str, str | None, int | None], Event | None]
) -> Iterator[str]:
    product = state.product
    window = product.period.window_before(manifest.partition, product.training_window)
    for period in (window[0], window[-1]) if window else ():
        read = event("raw", period.key, None)
        version = read.data_version if read else UNKNOWN
        yield f"{period.key}: data version {version}" + (f", Dagster run {read.run_id}" if read else "")
    yield f"{len(window)} periods of {product.source.main.name}"
