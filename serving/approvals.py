"""`POST /v1/models/<product>/versions/<version>/approvals`: a person's answer to a version that waits, signed."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import post
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, HeaderParameter, JSONBody
from msgspec import Meta

from mlops_assets.errors import UnknownProduct
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.approvals import Approval, ApprovalBook, Verdict
from serving.documentation import refusals
from serving.error_shapes import PROBLEM_JSON, Problem

Text = Annotated[str, Meta(min_length=1, max_length=2_000)]


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """verdict: approved or rejected. by: who answers. note: why."""

    verdict: Verdict
    by: Text
    note: Text


def approvals_route(
    products: Sequence[ModelProduct], book: ApprovalBook, now: Callable[[], datetime], *, is_open: bool
) -> HTTPRouteHandler:
    """Where requests need keys, the role approve was asked for before this is reached (`access.py`). Where they need none
    (is_open), who sends the key that answers are signed with may answer, and nobody else.

    The answer is only kept: acceptance and deployment verify it and judge the gates again."""
    by_name = {product.name: product for product in products}

    @post(
        "/v1/models/{product:str}/versions/{version:int}/approvals",
        operation_id="answer_version",
        sync_to_thread=True,
        summary="Approve or reject a version that waits",
        tags=["approvals"],
        responses=refusals(Problem, PROBLEM_JSON),
    )
    def answer(
        product: FromPath[str],
        version: FromPath[int],
        data: JSONBody[Answer],
        key: Annotated[str, HeaderParameter(name="X-Approval-Key", description="the approval key")] = "",
    ) -> Approval:
        if product not in by_name:
            raise UnknownProduct(product, by_name)
        if is_open and not book.holds(key):
            raise NotAuthorizedException("this needs the approval key. Send it as 'X-Approval-Key'.")
        valid_for = by_name[product].acceptance.valid_for
        return book.answer_waiting(product, version, data.verdict, data.by, data.note, now(), valid_for)

    return answer
