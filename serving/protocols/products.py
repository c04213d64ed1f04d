"""A product behind every protocol: rows of any format in, the answer of the native route out."""

from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Request, Response

from mlops_assets.errors import UnknownProduct
from serving.errors import MalformedBody, TooManyRows, UnsupportedBody
from serving.ids import new_id, trace_id_of
from serving.model_store import ModelStore
from serving.prediction_service import PredictionRequest
from serving.problems import ready_status
from serving.protocols.tables import as_bytes
from serving.schemas import Answer
from serving.services import Services

LONGEST_ID = 200


class ServedProduct:
    """A product whose rows are checked by the decoder of the native route."""

    def __init__(self, services: Services, name: str) -> None:
        self.name = name
        self.schema = services.bodies[name]
        self._decoder = services.decoders[name]
        self._router = services.routers[name]

    async def answer(
        self,
        rows: Sequence[Mapping[str, Any]],
        request: Request[Any, Any, Any],
        *id_headers: str,
        request_id: str = "",
        version: int | None = None,
    ) -> Answer:
        """The id of the request is `request_id`, else the first of these headers that it has, else a new id.

        Raises Refused: the rows do not fit. Raises whatever `RolloutRouter.submit` raises."""
        most = self.schema.product.serving.max_rows
        if len(rows) > most:
            raise TooManyRows(f"{len(rows):,} rows in one request; {self.name} takes at most {most:,}.")
        typed = self._decoder.decode_json(as_bytes(self.schema, rows)).rows
        request_id = request_id or next((value for name in id_headers if (value := request.headers.get(name))), "")
        trace_id = trace_id_of(request.headers.get("traceparent", ""))
        return await self._router.submit(
            PredictionRequest(typed, request_id[:LONGEST_ID] or new_id(), trace_id, version=version)
        )


class ServedProducts:
    """The products of this server by name, and the only product for protocols that name none."""

    def __init__(self, services: Services) -> None:
        self._by_name = {name: ServedProduct(services, name) for name in services.products}

    def named(self, name: str) -> ServedProduct:
        """Raises UnknownProduct."""
        if name not in self._by_name:
            raise UnknownProduct(name, self._by_name)
        return self._by_name[name]

    def only(self) -> ServedProduct:
        """Raises MalformedBody: there are several, and the route does not say which."""
        if len(self._by_name) != 1:
            raise MalformedBody(
                f"this server has {len(self._by_name)} products ({', '.join(sorted(self._by_name))}), and this route names none. "
                "Start it with MLOPS_PRODUCT, or use /v1/models/<product>/predict or /v2/models/<product>/infer."
            )
        return next(iter(self._by_name.values()))


def media_type_of(request: Request[Any, Any, Any]) -> str:
    """The media type that the request declares. Raises UnsupportedBody: it is compressed, or not UTF-8."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedBody(f"the body is encoded with {encoding[:100]!r}. Send it without an encoding.")
    kind, _, parameters = request.headers.get("content-type", "application/json").partition(";")
    for parameter in filter(None, map(str.strip, parameters.split(";"))):
        name, _, value = parameter.partition("=")
        if name.lower() == "charset" and value.strip('"').lower() not in ("utf-8", "utf8"):
            raise UnsupportedBody(f"the character set of the body is {value[:100]!r}. Send UTF-8.")
    return kind.strip().lower()


def readiness(models: ModelStore) -> Response[dict[str, str]]:
    """The answer to the probes of a platform."""
    return Response(
        {"status": "ready" if models.is_ready else "not ready"},
        status_code=ready_status(models.is_ready),
        media_type="application/json",
    )
