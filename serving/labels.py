"""`POST /v1/models/<product>/labels`: outcomes, told by the id of the prediction they belong to."""

from collections.abc import Callable, Mapping
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
from mlops_assets.state.label_log import LabelLog, ToldLabel
from serving.access import NEEDS, Role
from serving.decoding import refuse_other_encodings
from serving.documentation import body_type, refusals, strict_body
from serving.error_shapes import PROBLEM_JSON, Problem
from serving.errors import InvalidRows, MalformedBody, NotKept, TooManyRows
from serving.metrics import Metrics
from serving.model_store import ModelStore

MOST_LABELS = 10_000
Moment = Annotated[datetime, Meta(tz=True)]


class Taken(msgspec.Struct):
    """labels: how many are on disk now."""

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


def labels_route(
    product: ModelProduct, models: ModelStore, log: LabelLog, metrics: Metrics, now: Callable[[], datetime]
) -> HTTPRouteHandler:
    """Labels are taken whether or not the prediction is known here: another worker, or another server, may have it."""
    body = ValueLabels if product.task is Task.REGRESSION else ClassLabels
    decoder = msgspec.json.Decoder(body)

    def decode(content: bytes, headers: Mapping[str, str]) -> list[Any]:
        refuse_other_encodings(headers)
        return _decode(decoder, content)

    async def labels(data: list[Any]) -> Response[Taken]:
        classes = _classes(product, models)
        received = now()
        rows = [_row(classes, item, number, received) for number, item in enumerate(data)]
        try:
            await sync_to_thread(log.append, product.name, rows)
        except StoreError as error:
            raise NotKept(
                f"none of the labels could be written down ({error}). Send them again once the disk is well."
            ) from error
        metrics.labels.labels(product.name).inc(len(rows))
        return Response(Taken(product.name, len(rows)), status_code=200)

    labels.__annotations__["data"] = body_type(body)  # what is documented; `decode` makes the list out of it
    return post(
        f"/v1/models/{product.name}/labels",
        name=f"labels_{product.name}",
        operation_id=f"labels_{product.name}",
        opt={NEEDS: Role.LABEL},
        summary=f"Tell what {product.label.name} turned out to be",
        description="One label per prediction_id. Told again in a later request, it corrects the one before.",
        tags=[product.name],
        status_code=200,
        dto=strict_body(decode),
        return_dto=None,
        responses=refusals(Problem, PROBLEM_JSON),
    )(labels)


def _decode(decoder: "msgspec.json.Decoder[Any]", body: bytes) -> list[Any]:
    try:
        told: list[Any] = decoder.decode(body).labels
    except msgspec.ValidationError as error:
        if "length <=" in str(error) and "`$.labels`" in str(error):
            raise TooManyRows(f"more than {MOST_LABELS:,} labels in one request. Send them in several.") from None
        raise InvalidRows(f"labels do not fit: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody(f"the body is no JSON: {error}.") from None
    first: dict[str, int] = {}
    for number, one in enumerate(told):
        if (before := first.setdefault(one.prediction_id, number)) != number:
            raise InvalidRows(
                f"labels {before} and {number} are both of the prediction {one.prediction_id[:100]!r}. Send the one that counts."
            )
    return told


def _classes(product: ModelProduct, models: ModelStore) -> tuple[str, ...]:
    """Names of the classes, as far as they are known: from the task, or from the model that serves."""
    model = models.state(product.name).model
    known = model.bundle.manifest.classes if model is not None else ()
    return known or (("false", "true") if product.task is Task.BINARY else ())


def _row(classes: tuple[str, ...], told: Any, number: int, received: datetime) -> ToldLabel:
    if isinstance(told, ValueLabel):
        return ToldLabel(told.prediction_id, None, told.label, told.observed_at, received)
    label = str(told.label).lower() if isinstance(told.label, bool) else told.label
    if classes and label not in classes:
        raise InvalidRows(f"label {number}: no class {label[:100]!r}. Known: {', '.join(classes)}.")
    return ToldLabel(told.prediction_id, label, None, told.observed_at, received)
