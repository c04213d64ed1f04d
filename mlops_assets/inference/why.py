"""Why this prediction: the chain from what serves back to the raw partitions, as it was recorded, and nothing else."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mlops_assets.errors import DeclarationError, choices
from mlops_assets.inference.asked import decision_in_words
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.deployment_ledger import Deployment
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import Manifest, read_manifest
from mlops_assets.testing.acceptance import AcceptanceRecord
from mlops_assets.testing.report import TestReport
from mlops_assets.testing.staging import StagingReport
from mlops_assets.training.recipe import RECIPE, Recipe, recipe_key

Document = TypeVar("Document")
Report = TypeVar("Report", AcceptanceRecord, StagingReport, TestReport)
UNKNOWN = "not recorded"


class Event(Protocol):
    """What is read of an event of Dagster's log."""

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
    product: ModelProduct,
    home: Home,
    version: int | None,
    event: Callable[[str, str | None, int | None], Event | None],
    places: Places,
) -> list[Step]:
    """The chain of `version` (None: the champion), newest link first.

    event: newest event of Dagster's log for an asset, partition and model version; None where it has none.
    Raises NoChampion, BundleError: there is no such version."""
    history = home.ledger.history(product.name)
    number = home.ledger.champion(product.name).version if version is None else version
    manifest = _manifest(product, home, number)
    key = manifest.partition
    steps = [Step("deployment", tuple(_deployments(history, number)), places.asset(product.name, "deployment", key))]
    for name, told in (("acceptance", _acceptance), ("staging_report", _staging), ("test_report", _tested)):
        facts = [*told(product, home, manifest), *_of_log(event(name, key, number))]
        steps.append(Step(f"{name} {key}", tuple(facts), places.asset(product.name, name, key)))
    trained = event("model", key, number)
    link = f"{places.mlflow}/#/models/{product.name}/versions/{number}"
    steps.append(Step(f"model version {number}", (*_model(manifest), *_of_log(trained)), link))
    steps.append(
        Step("asked for by", tuple(_cause(product, home, trained)), places.asset(product.name, "drift_decision"))
    )
    made = tuple(_recipe(product, home, manifest))
    steps.append(Step(f"recipe {manifest.recipe_version}", made, places.asset(product.name, "recipe")))
    rows = tuple(_training_set(product, home, manifest))
    steps.append(Step(f"training_set {key}", rows, places.asset(product.name, "training_set", key)))
    for name in ("features", "labels"):
        steps.append(Step(name, tuple(_partitions(product, home, manifest, name)), places.asset(product.name, name)))
    steps.append(Step("raw", tuple(_raw(product, home, manifest, event)), places.asset(product.name, "raw")))
    return steps


def _manifest(product: ModelProduct, home: Home, version: int) -> Manifest:
    folder = home.bundle(product.name, version)
    if not folder.exists():
        known = sorted(path.name for path in folder.parent.glob("[0-9]*")) if folder.parent.exists() else []
        raise DeclarationError(f"{product.name} has no version {version}. {choices(str(version), known)}")
    return read_manifest(folder)


def _deployments(history: Sequence[Deployment], version: int) -> Iterator[str]:
    ends = [*(item.deployed_at for item in history[1:]), None]
    served = [(item, end) for item, end in zip(history, ends, strict=False) if item.version == version]
    if not served:
        yield f"version {version} never served"
    for item, end in served:
        until = f"{end:%Y-%m-%d %H:%M}" if end else "now"
        yield f"{item.deployed_at:%Y-%m-%d %H:%M} to {until}, by {item.by}: {item.reason}"
        yield f"Dagster run {item.run_id or UNKNOWN}"


def _stored(home: Home, product: ModelProduct, asset: str, key: str, kind: type[Document]) -> Document | None:
    return home.documents.load(product.name, asset, key, kind) if home.documents.has(product.name, asset, key) else None


def _of_version(
    product: ModelProduct, home: Home, manifest: Manifest, asset: str, kind: type[Report]
) -> tuple[Report | None, str]:
    """What is stored for the version's partition, or why there is nothing of this version."""
    found = _stored(home, product, asset, manifest.partition, kind)
    if found is None or found.version == manifest.version:
        return found, UNKNOWN
    return None, (
        f"what is stored for {manifest.partition} now is of version {found.version}: what version {manifest.version} got "
        "was replaced"
    )


def _acceptance(product: ModelProduct, home: Home, manifest: Manifest) -> Iterator[str]:
    record, missing = _of_version(product, home, manifest, "acceptance", AcceptanceRecord)
    if record is None:
        yield missing
        return
    yield f"{record.in_words} by {record.by} at {record.at:%Y-%m-%d %H:%M}: {record.reason}"
    for answer in home.approvals().answers(product.name, manifest.version):
        yield f"{answer.verdict} by {answer.by} at {answer.at:%Y-%m-%d %H:%M}, signature {answer.signature[:12]}: {answer.note}"


def _staging(product: ModelProduct, home: Home, manifest: Manifest) -> Iterator[str]:
    report, missing = _of_version(product, home, manifest, "staging_report", StagingReport)
    yield (
        missing
        if report is None
        else (
            f"{report.rows:,} rows over HTTP, largest difference to offline {report.skew:.1e}, p99 {report.p99_milliseconds:.1f} ms"
        )
    )


def _tested(product: ModelProduct, home: Home, manifest: Manifest) -> Iterator[str]:
    report, missing = _of_version(product, home, manifest, "test_report", TestReport)
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


def _cause(product: ModelProduct, home: Home, trained: Event | None) -> Iterator[str]:
    """The decision and the reading behind the run that trained it."""
    if trained is None or not trained.cause:
        yield "a run without a recorded cause: somebody started it by hand" if trained else UNKNOWN
        return
    _, period, what = trained.cause.split(":", 2)
    yield f"{what} of {period} (run tag {trained.cause})"
    if what.startswith("rework"):  # development answers with the partition after the period that was decided
        period = product.period.shift(product.period.at(period), -1).key
    if what.startswith(("rework", "retrain")):
        yield from decision_in_words(product, home, period)


def _recipe(product: ModelProduct, home: Home, manifest: Manifest) -> Iterator[str]:
    made = _stored(home, product, RECIPE, recipe_key(manifest.recipe_version), Recipe)
    yield UNKNOWN if made is None else f"by {made.by} at {made.promoted_at:%Y-%m-%d %H:%M}: {made.reason}"
    if made is not None and made.mlflow_run_id:
        yield f"from run {made.mlflow_run_id}"


def _training_set(product: ModelProduct, home: Home, manifest: Manifest) -> Iterator[str]:
    table, was = f"{product.name}/training_set", manifest.training_data_version
    if not home.offline.has(table, manifest.partition):
        yield f"data version {was}; it is not stored any more"
        return
    now = home.offline.version(table, manifest.partition)
    yield f"data version {was}, " + ("as it is stored" if now == was else f"stored now: {now}")


def _partitions(product: ModelProduct, home: Home, manifest: Manifest, name: str) -> Iterator[str]:
    noted = {key.partition("/")[2]: was for key, was in manifest.input_versions.items() if key.startswith(f"{name}/")}
    if not noted:
        yield f"data versions {UNKNOWN}"
        return
    keys = sorted(noted)
    yield f"{len(keys)} partitions, {keys[0]} ({noted[keys[0]]}) to {keys[-1]} ({noted[keys[-1]]})"
    changed = [
        key
        for key in keys
        if not home.offline.has(f"{product.name}/{name}", key)
        or home.offline.version(f"{product.name}/{name}", key) != noted[key]
    ]
    yield f"changed since: {', '.join(changed)}" if changed else "all as they are stored"


def _raw(
    product: ModelProduct, home: Home, manifest: Manifest, event: Callable[[str, str | None, int | None], Event | None]
) -> Iterator[str]:
    window = product.period.window_before(manifest.partition, product.training_window)
    for period in (window[0], window[-1]) if window else ():
        found = event("raw", period.key, None)
        version = found.data_version if found else UNKNOWN
        yield f"{period.key}: data version {version}" + (f", Dagster run {found.run_id}" if found else "")
    yield f"{len(window)} periods of {product.source.main.name}"
