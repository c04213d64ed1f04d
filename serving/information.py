"""The API's information about itself: models, versions, freshness, health."""

from datetime import datetime

import msgspec

from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.task import Task


class InputInformation(msgspec.Struct):
    """One input of the model. source: the request, or the view in which it is looked up."""

    name: str
    kind: FeatureKind
    unit: str
    description: str
    source: str


class ViewInformation(msgspec.Struct):
    """A batch view in the online store. newest_event: None before the first value, or if the store cannot be read."""

    name: str
    key: tuple[str, ...]
    time_to_live_seconds: float | None
    newest_event: datetime | None


class LogInformation(msgspec.Struct):
    """Whether answers reach the prediction log of this machine, and its rows the state.

    unsealed_rows: rows of this worker that are only on this machine. seal_error: why the last attempt to seal failed."""

    is_writing: bool
    written_rows: int
    waiting_rows: int
    dropped_rows: int
    last_error: str | None
    unsealed_rows: int
    seal_error: str | None


class VersionInformation(msgspec.Struct):
    """The model that answers. deployed_at: None for a pinned bundle."""

    version: int
    partition: str
    deployed_at: datetime | None
    reason: str
    estimator: str
    trained_rows: int
    metrics: dict[str, float]


class Serving(msgspec.Struct):
    """A time in which a version was the champion. until: None while it still is."""

    since: datetime
    until: datetime | None
    reason: str
    by: str


class VersionEntry(msgspec.Struct):
    """One version whose bundle is in the state. state: champion, challenger (newer than any deployed one), former or passed over."""

    version: int
    state: str
    partition: str
    created_at: datetime
    estimator: str
    trained_rows: int
    metrics: dict[str, float]
    served: list[Serving]


class VersionList(msgspec.Struct):
    """Newest first."""

    product: str
    versions: list[VersionEntry]


class ModelInformation(msgspec.Struct):
    """One product as it is served. last_swap_error: why the newest deployment does not serve."""

    product: str
    description: str
    owner: str
    task: Task
    state: str
    label: str
    label_unit: str
    predict: str
    version: VersionInformation | None
    last_swap_error: str | None
    ledger_error: str | None
    inputs: list[InputInformation]
    online_features: list[ViewInformation]
    prediction_log: LogInformation


class ModelSummary(msgspec.Struct):
    product: str
    description: str
    state: str
    version: int | None
    information: str
    predict: str


class WorkerInformation(msgspec.Struct):
    """One process of this server."""

    process_id: int
    memory_mb: float


class ModelList(msgspec.Struct):
    models: list[ModelSummary]
    workers: list[WorkerInformation]


class Liveness(msgspec.Struct):
    status: str


class Readiness(msgspec.Struct):
    """products: the state of each product. With one that is 'loading' or 'failed' the server is not ready; 'no champion' is
    fine.

    broken: products whose files cannot be used, with the reason. They are not served, and the server is ready without them.
    swap_errors: why the newest deployment of a product cannot serve; the former version serves, if it can be opened.
    ledger_error: why the last poll could not read the deployment ledger; models continue to serve."""

    status: str
    products: dict[str, str]
    broken: dict[str, str]
    swap_errors: dict[str, str]
    ledger_error: str | None
    prediction_log: LogInformation


class Addresses(msgspec.Struct):
    """The addresses of the other routes."""

    models: str
    documentation: str
    openapi: str
    live: str
    ready: str
    reports: str
