"""`POST /v1/models/<product>/versions/<version>/approvals`: a person's signed answer to a version that waits."""

from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, HeaderParameter, JSONBody
from msgspec import Meta

from mlops_assets.records.acceptance import Approval, Verdict
from serving.access import NEEDS, Caller, Role
from serving.documentation import refusals
from serving.errors import Forbidden
from serving.problems import PROBLEM_JSON, Problem
from serving.services import Services

OWN_KEY, SAID = "by a key of their own", "said by the holder of the approval key"
Text = Annotated[str, Meta(min_length=1, max_length=2_000)]


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """verdict: approved or rejected. note: why. by: the person who answers; may be left out where requests need keys, as the key
    has that person's name."""

    verdict: Verdict
    note: Text
    by: Annotated[str, Meta(max_length=2_000)] = ""


def approvals_route(services: Services, *, is_open: bool) -> HTTPRouteHandler:
    """Where requests need keys, the caller has the role approve (`access.py`), and the answer is signed with the name of their key.
    Where they need none (is_open), only callers that send the approval key may answer. They could give any name, so the record
    says that the name was not verified.

    The answer is only stored: acceptance and deployment verify it and judge the gates again."""

    @post(
        "/v1/models/{product:str}/versions/{version:int}/approvals",
        operation_id="answer_version",
        opt={NEEDS: Role.APPROVE},
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
        state = services.state_of(product)
        if is_open and not state.approvals.holds(key):
            raise NotAuthorizedException("this needs the approval key. Send it as 'X-Approval-Key'.")
        caller: Caller = request.auth
        by, through = (data.by, SAID) if is_open else (_person(caller, data.by), OWN_KEY)
        valid_for = state.product.acceptance.valid_for
        return state.approvals.answer_waiting(
            version, data.verdict, by, through, data.note, services.clock.now(), valid_for
        )

    return answer


def _person(caller: Caller, name: str) -> str:
    """Raises Forbidden: the key has no name, or another one than the body."""
    if not caller.person:
        raise Forbidden(
            "this key has no name, and an answer is signed with one. Give it in MLOPS_APPROVE_KEYS as name:key."
        )
    if name not in ("", caller.person):
        raise Forbidden(f"this is the key of {caller.person}, but the body says {name[:100]!r}. Leave 'by' out.")
    return caller.person
