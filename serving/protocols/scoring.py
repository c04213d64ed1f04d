"""One product as every protocol asks it: rows of any origin in, the same answer as the native route out."""

from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Request

from mlops_assets.errors import UnknownProduct
from mlops_assets.products.product import ModelProduct
from serving.challenged import Predicting
from serving.decoding import BodyDecoder
from serving.errors import MalformedBody, TooManyRows, UnsupportedBody
from serving.ids import new_id
from serving.protocols.tables import as_bytes
from serving.schemas import Answer, BodySchema

LONGEST_ID = 200


class Scoring:
    """Rows in, answer out; the rows pass the decoder of the native route."""

    def __init__(self, schema: BodySchema, decoder: BodyDecoder, predictor: Predicting) -> None:
        self.schema = schema
        self.product: ModelProduct = schema.product
        self._decoder = decoder
        self._predictor = predictor

    async def answer(
        self, rows: Sequence[Mapping[str, Any]], request_id: str, *, version: int | None = None, trace_id: str = ""
    ) -> Answer:
        """Raises Refused: the rows do not fit. Raises NoChampion, NotServing or UnknownVersion."""
        most = self.product.serving.max_rows
        if len(rows) > most:
            raise TooManyRows(f"{len(rows):,} rows in one request; {self.product.name} takes at most {most:,}.")
        typed = self._decoder.decode_json(as_bytes(self.schema, rows)).rows
        return await self._predictor.predict(typed, request_id, version=version, trace_id=trace_id)


class Scorings:
    """The products of this server, by name, and the one that a protocol without names means."""

    def __init__(self, scorings: Sequence[Scoring]) -> None:
        self.by_name = {scoring.product.name: scoring for scoring in scorings}

    def named(self, name: str) -> Scoring:
        """Raises UnknownProduct."""
        if name not in self.by_name:
            raise UnknownProduct(name, self.by_name)
        return self.by_name[name]

    def only(self) -> Scoring:
        """Raises MalformedBody: there are several, and the route does not say which."""
        if len(self.by_name) != 1:
            raise MalformedBody(
                f"this server has {len(self.by_name)} products ({', '.join(sorted(self.by_name))}) and this route names "
                "none. Start it with MLOPS_PRODUCT, or use /v1/models/<product>/predict or /v2/models/<product>/infer."
            )
        return next(iter(self.by_name.values()))


def request_id_of(request: Request[Any, Any, Any], *headers: str) -> str:
    """What the client calls its request, by the first of these headers that it sends; else a new name."""
    found = next((value for name in headers if (value := request.headers.get(name))), "")
    return found[:LONGEST_ID] or new_id()


def media_type_of(request: Request[Any, Any, Any]) -> str:
    """What the body is said to be. Raises UnsupportedBody: it is compressed, or no UTF-8."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedBody(f"the body is encoded with {encoding[:100]!r}. Send it as it is.")
    kind, _, parameters = request.headers.get("content-type", "application/json").partition(";")
    for parameter in filter(None, map(str.strip, parameters.split(";"))):
        name, _, value = parameter.partition("=")
        if name.lower() == "charset" and value.strip('"').lower() not in ("utf-8", "utf8"):
            raise UnsupportedBody(f"the body is said to be in {value[:100]!r}. Send UTF-8.")
    return kind.strip().lower()


def records(answer: Answer) -> list[Any]:
    """The predictions as they are, one object per row."""
    return list(answer.predictions)
