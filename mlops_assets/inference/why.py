"""Why this prediction: the chain from what serves back to the raw partitions, as it was recorded, and nothing else."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mlops_assets.errors import DeclarationError, choices
from mlops_assets.inference.asked import decision_in_words
from mlops_assets.records.acceptance import AcceptanceRecord
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
    """The part of an event in Dagster's log that is used here."""

    @property
    def run_id(self) -> str: ...
    @property
    def cause(self) -> str: ...
    @property
    def data_version(self) -> str: ...


@dataclass(frozen=True)
class Step:
    """One link of the chain: the asset and its partition, what is known of it in words, and where people see it."""

    name: str
    facts: tuple[str, ...]
    link: str = ""


@dataclass(frozen=True)
class Places:
    """Addresses of the UIs, without a slash at the end."""

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

    event: newest event of Dagster's log for an asset, partition and model version; None where it has none.
    Raises NoChampion, BundleError: there is no such version."""
    product = state.product
    history = state.ledger.history()
    number = state.ledger.champion().version if version is None else version
    manifest = _manifest(state, number)
    key = manifest.partition
    steps = [Step("deployment", tuple(_deployments(history, number)), places.asset(product.name, "deployment", key))]
    for name, told in (("acceptance", _acceptance), ("staging_report", _staging), ("test_report", _tested)):
        facts = [*told(state, manifest), *_of_log(event(name, key, number))]
        steps.append(Step(f"{name} {key}", tuple(facts), places.asset(product.name, name, key)))
    trained = event(ModelRecord.asset, key, number)
    link = f"{places.mlflow}/#/models/{product.name}/versions/{number}"
    steps.append(Step(f"model version {number}", (*_model(manifest), *_of_log(trained)), link))
    steps.append(Step("asked for by", tuple(_cause(state, trained)), places.asset(product.name, "drift_decision")))
    made = tuple(_recipe(state, manifest))
    steps.append(Step(f"recipe {manifest.recipe_version}", made, places.asset(product.name, "recipe")))
    rows = tuple(_training_set(state, manifest))
    steps.append(Step(f"training_set {key}", rows, places.asset(product.name, "training_set", key)))
    for name in ("features", "labels"):
        steps.append(Step(name, tuple(_partitions(state, manifest, name)), places.asset(product.name, name)))
    steps.append(Step("raw", tuple(_raw(state, manifest, event)), places.asset(product.name, "raw")))
    return steps


def _manifest(state: ProductState, version: int) -> Manifest:
    known = state.bundles.versions()
    if version not in known:
        raise DeclarationError(
            f"{state.product.name} has no version {version}. {choices(str(version), map(str, known))}"
        )
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
    """The record stored for the version's partition, or the reason why there is none of this version."""
    found = _stored(state, kind, manifest.partition)
    if found is None or found.version == manifest.version:
        return found, UNKNOWN
    return None, (
        f"what is stored for {manifest.partition} now is of version {found.version}: what version {manifest.version} got "
        "was replaced"
    )


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
    yield (
        missing
        if report is None
        else (
            f"{report.rows:,} rows over HTTP, largest difference to offline {report.skew:.3g} float32 steps, "
            f"p99 {report.p99_milliseconds:.1f} ms"
        )
    )


def _tested(state: ProductState, manifest: Manifest) -> Iterator[str]:
    product = state.product
    report, missing = _of_version(state, manifest, TestReport)
    if report is None:
        yield missing
        return
    score = next(item for item in report.scores if item.metric == product.metric)
    yield f"{product.metric} {score.value:.4f} ({score.low:.4f} to {score.high:.4f}) on {report.rows:,} unseen rows"
    found = report.against_champion(product.metric)
    yield (
        f"against champion {found.champion_version}: {found.gain:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
        if found
        else "there was no champion to compare with"
    )


def _model(manifest: Manifest) -> Iterator[str]:
    settings = ", ".join(f"{name}={value}" for name, value in manifest.hyperparameters.items()) or "defaults"
    yield f"{manifest.estimator} ({settings}), {manifest.search or 'search ' + UNKNOWN}, on {manifest.rows:,} rows"
    yield f"code {manifest.git_commit or UNKNOWN}, packages {manifest.lock or UNKNOWN}, model {manifest.checksums['model.onnx'][:16]}"
    yield f"MLflow run {manifest.mlflow_run_id or UNKNOWN}"


def _of_log(found: Event | None) -> Iterator[str]:
    yield (
        f"Dagster run {found.run_id or UNKNOWN}, data version {found.data_version}"
        if found
        else "Dagster's log has no event of it"
    )


def _cause(state: ProductState, trained: Event | None) -> Iterator[str]:
    """The decision and the reading behind the run that trained it."""
    product = state.product
    if trained is None or not trained.cause:
        yield "a run without a recorded cause: somebody started it by hand" if trained else UNKNOWN
        return
    _, period, what = trained.cause.split(":", 2)
    yield f"{what} of {period} (run tag {trained.cause})"
    if what.startswith("rework"):  # development answers with the partition after the period that was decided
        period = product.period.shift(product.period.at(period), -1).key
    if what.startswith(("rework", "retrain")):
        yield from decision_in_words(state, period)


def _recipe(state: ProductState, manifest: Manifest) -> Iterator[str]:
    made = _stored(state, Recipe, recipe_key(manifest.recipe_version))
    yield UNKNOWN if made is None else f"by {made.by} at {made.promoted_at:%Y-%m-%d %H:%M}: {made.reason}"
    if made is not None and made.mlflow_run_id:
        yield f"from run {made.mlflow_run_id}"


def _training_set(state: ProductState, manifest: Manifest) -> Iterator[str]:
    was = manifest.training_data_version
    if not state.tables.has("training_set", manifest.partition):
        yield f"data version {was}; it is not stored any more"
        return
    now = state.tables.version("training_set", manifest.partition)
    yield f"data version {was}, " + ("as it is stored" if now == was else f"stored now: {now}")
    if manifest.shift_since and manifest.fitted_until and manifest.tested_from:
        yield (
            f"holds the shift since {manifest.shift_since}: fitted until {manifest.fitted_until:%Y-%m-%d}, tested from "
            f"{manifest.tested_from:%Y-%m-%d} on"
        )


def _partitions(state: ProductState, manifest: Manifest, name: str) -> Iterator[str]:
    noted = {key.partition("/")[2]: was for key, was in manifest.input_versions.items() if key.startswith(f"{name}/")}
    if not noted:
        yield f"data versions {UNKNOWN}"
        return
    keys = sorted(noted)
    yield f"{len(keys)} partitions, {keys[0]} ({noted[keys[0]]}) to {keys[-1]} ({noted[keys[-1]]})"
    changed = [key for key in keys if not state.tables.has(name, key) or state.tables.version(name, key) != noted[key]]
    yield f"changed since: {', '.join(changed)}" if changed else "all as they are stored"


def _raw(
    state: ProductState, manifest: Manifest, event: Callable[[str, str | None, int | None], Event | None]
) -> Iterator[str]:
    product = state.product
    window = product.period.window_before(manifest.partition, product.training_window)
    for period in (window[0], window[-1]) if window else ():
        found = event("raw", period.key, None)
        version = found.data_version if found else UNKNOWN
        yield f"{period.key}: data version {version}" + (f", Dagster run {found.run_id}" if found else "")
    yield f"{len(window)} periods of {product.source.main.name}"
