"""`POST /v1/models/<product>/versions/<version>/approvals`: a person's answer to a version that waits, signed."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, HeaderParameter, JSONBody
from msgspec import Meta

from mlops_assets.errors import UnknownProduct
from mlops_assets.records.acceptance import Approval, Verdict
from mlops_assets.state.workspace import ProductState
from serving.access import Caller
from serving.documentation import refusals
from serving.error_shapes import PROBLEM_JSON, Problem
from serving.errors import Forbidden

OWN_KEY, SAID = "by a key of their own", "said by who holds the approval key"
Text = Annotated[str, Meta(min_length=1, max_length=2_000)]


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """verdict: approved or rejected. note: why. by: who answers. Where requests need keys it is the name of the key, and may
    be left out."""

    verdict: Verdict
    note: Text
    by: Annotated[str, Meta(max_length=2_000)] = ""


def approvals_route(states: Sequence[ProductState], now: Callable[[], datetime], *, is_open: bool) -> HTTPRouteHandler:
    """Where requests need keys, the role approve was asked for before this is reached (`access.py`), and who answers is whose
    key it is. Where they need none (is_open), who sends the key that answers are signed with may answer, and nobody else;
    they could sign any name, so the answer records that it is only what they said.

    The answer is only kept: acceptance and deployment verify it and judge the gates again."""
    by_name = {state.product.name: state for state in states}

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
        request: Request[Any, Any, Any],
        key: Annotated[str, HeaderParameter(name="X-Approval-Key", description="the approval key")] = "",
    ) -> Approval:
        if product not in by_name:
            raise UnknownProduct(product, by_name)
        state = by_name[product]
        if is_open and not state.approvals.holds(key):
            raise NotAuthorizedException("this needs the approval key. Send it as 'X-Approval-Key'.")
        caller: Caller = request.auth
        by, through = (data.by, SAID) if is_open else (_person(caller, data.by), OWN_KEY)
        valid_for = state.product.acceptance.valid_for
        return state.approvals.answer_waiting(version, data.verdict, by, through, data.note, now(), valid_for)

    return answer


def _person(caller: Caller, said: str) -> str:
    """Raises Forbidden: the key is nobody's, or somebody else's than the body says."""
    if not caller.person:
        raise Forbidden(
            "this key has no name, and an answer is signed with one. Give it in MLOPS_APPROVE_KEYS as name:key."
        )
    if said not in ("", caller.person):
        raise Forbidden(f"this is the key of {caller.person}, and the body says {said[:100]!r}. Leave 'by' out.")
    return caller.person
