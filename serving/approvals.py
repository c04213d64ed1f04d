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

Text = Annotated[str, Meta(min_length=1, max_length=2_000)]


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """verdict: approved or rejected. by: who answers. note: why."""

    verdict: Verdict
    by: Text
    note: Text


def approvals_route(
    products: Sequence[ModelProduct], book: ApprovalBook, now: Callable[[], datetime]
) -> HTTPRouteHandler:
    """Who sends the key that answers are signed with may answer; nobody else, wherever the request comes from.

    The answer is only kept: acceptance and deployment verify it and judge the gates again."""
    by_name = {product.name: product for product in products}

    @post(
        "/v1/models/{product:str}/versions/{version:int}/approvals",
        operation_id="answer_version",
        sync_to_thread=True,
        include_in_schema=False,  # the page of the API shows rows to predict, and takes every POST for one
    )
    def answer(
        product: FromPath[str],
        version: FromPath[int],
        data: JSONBody[Answer],
        key: Annotated[str, HeaderParameter(name="X-Approval-Key", description="the approval key")] = "",
    ) -> Approval:
        if product not in by_name:
            raise UnknownProduct(product, by_name)
        if not book.holds(key):
            raise NotAuthorizedException("this needs the approval key. Send it as 'X-Approval-Key'.")
        valid_for = by_name[product].acceptance.valid_for
        return book.answer_waiting(product, version, data.verdict, data.by, data.note, now(), valid_for)

    return answer
