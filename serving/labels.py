"""`POST /v1/models/<product>/labels`: reported labels, each by the id of the prediction it belongs to."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, post
from litestar.concurrency import sync_to_thread
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta

from mlops_assets.errors import StoreError
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.state.label_log import ReportedLabel
from serving.access import NEEDS, Role
from serving.decoding import refuse_other_encodings, strict_body
from serving.documentation import body_type, refusals
from serving.errors import InvalidRows, MalformedBody, NotKept, TooManyRows
from serving.model_store import ModelStore
from serving.problems import PROBLEM_JSON, Problem
from serving.services import Services

MOST_LABELS = 10_000
Moment = Annotated[datetime, Meta(tz=True)]


class Stored(msgspec.Struct):
    """labels: how many were stored."""

    product: str
    labels: int


class ClassLabel(msgspec.Struct, forbid_unknown_fields=True):
    """label: the class that was observed. observed_at: when, with a time zone."""

    prediction_id: Annotated[str, Meta(min_length=1, max_length=1_000)]
    label: bool | Annotated[str, Meta(max_length=1_000)]
    observed_at: Moment | None = None


class ValueLabel(msgspec.Struct, forbid_unknown_fields=True):
    """label: the number that was observed, in the unit of the predictions."""

    prediction_id: Annotated[str, Meta(min_length=1, max_length=1_000)]
    label: Annotated[float, Meta(ge=-1e300, le=1e300)]
    observed_at: Moment | None = None


class ClassLabels(msgspec.Struct, forbid_unknown_fields=True):
    labels: Annotated[list[ClassLabel], Meta(min_length=1, max_length=MOST_LABELS)]


class ValueLabels(msgspec.Struct, forbid_unknown_fields=True):
    labels: Annotated[list[ValueLabel], Meta(min_length=1, max_length=MOST_LABELS)]


def labels_route(services: Services, name: str) -> HTTPRouteHandler:
    """Labels are accepted even if this server has no such prediction: another worker or server may have it."""
    product = services.products[name]
    body = ValueLabels if product.task is Task.REGRESSION else ClassLabels
    decoder = msgspec.json.Decoder(body)

    def decode(content: bytes, headers: Mapping[str, str]) -> list[Any]:
        refuse_other_encodings(headers)
        return _decode(decoder, content)

    async def labels(data: list[Any]) -> Response[Stored]:
        classes = _classes(product, services.models)
        received = services.clock.now()
        rows = [_row(classes, item, number, received) for number, item in enumerate(data)]
        try:
            await sync_to_thread(services.labels.append, name, rows)
        except StoreError as error:
            raise NotKept(
                f"none of the labels could be written ({error}). Send them again once the disk has room."
            ) from error
        services.metrics.labels.labels(name).inc(len(rows))
        return Response(Stored(name, len(rows)), status_code=200)

    labels.__annotations__["data"] = body_type(body)  # for the documentation; `decode` returns the list in it
    return post(
        f"/v1/models/{name}/labels",
        name=f"labels_{name}",
        operation_id=f"labels_{name}",
        opt={NEEDS: Role.LABEL},
        summary=f"Report what {product.label.name} turned out to be",
        description="One label per prediction_id. A label that is reported again in a later request corrects the one before.",
        tags=[name],
        status_code=200,
        dto=strict_body(decode),
        return_dto=None,
        responses=refusals(Problem, PROBLEM_JSON),
    )(labels)


def _decode(decoder: "msgspec.json.Decoder[Any]", body: bytes) -> list[Any]:
    try:
        reported: list[Any] = decoder.decode(body).labels
    except msgspec.ValidationError as error:
        if "length <=" in str(error) and "`$.labels`" in str(error):
            raise TooManyRows(f"more than {MOST_LABELS:,} labels in one request. Send them in several.") from None
        raise InvalidRows(f"labels do not fit: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody(f"the body is not JSON: {error}.") from None
    first: dict[str, int] = {}
    for number, label in enumerate(reported):
        if (before := first.setdefault(label.prediction_id, number)) != number:
            raise InvalidRows(
                f"labels {before} and {number} are both for the prediction {label.prediction_id[:100]!r}. Send only the valid one."
            )
    return reported


def _classes(product: ModelProduct, models: ModelStore) -> tuple[str, ...]:
    """The names of the classes, from the champion or from the task; empty if neither has names."""
    model = models.state(product.name).model
    names = model.bundle.manifest.classes if model is not None else ()
    return names or (("false", "true") if product.task is Task.BINARY else ())


def _row(classes: tuple[str, ...], reported: Any, number: int, received: datetime) -> ReportedLabel:
    if isinstance(reported, ValueLabel):
        return ReportedLabel(reported.prediction_id, None, reported.label, reported.observed_at, received)
    label = str(reported.label).lower() if isinstance(reported.label, bool) else reported.label
    if classes and label not in classes:
        raise InvalidRows(f"label {number}: there is no class {label[:100]!r}. Known: {', '.join(classes)}.")
    return ReportedLabel(reported.prediction_id, label, None, reported.observed_at, received)
