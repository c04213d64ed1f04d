"""Every route of the API, on every platform, in many spellings, with every kind of key: the matched route decides."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httptools
import pytest
from litestar import Litestar, Router, get
from litestar.routes import HTTPRoute

from examples.flights.flight_delay import flight_delay
from mlops_assets.state.workspace import Workspace
from serving.access import Role, keys_from
from serving.app import create_app
from serving.platforms import Platform
from serving.settings import PinnedBundle
from tests.serving.running_api import a_client, settings_on
from tests.tiny_bundle import deploy_tiny, write_tiny_folder

KEYS = {role.value: f"{role}-{'k' * 16}" for role in Role}
CALLERS = {"nobody": "", "a stranger": "stranger-" + "k" * 16, **KEYS}
VARIABLES = {f"MLOPS_{role.upper()}_KEYS": key for role, key in KEYS.items()}
VARIABLES["MLOPS_APPROVE_KEYS"] = f"ana:{KEYS['approve']}"
NOTHING, ANYTHING = "no key", "any key"
# what each route needs, written down apart from the routes themselves
NEEDED = {
    "/": ANYTHING,
    "/metrics": ANYTHING,
    "/schema": ANYTHING,
    "/schema/openapi.json": ANYTHING,
    "/schema/{path}": ANYTHING,
    "/reports/{name}": Role.ADMIN,
    "/health/live": NOTHING,
    "/health/ready": NOTHING,
    "/v1/models": Role.PREDICT,
    "/v1/models/{product}": Role.PREDICT,
    "/v1/models/{product}/versions": Role.PREDICT,
    "/v1/models/{product}/predict": Role.PREDICT,
    "/v1/models/flight_delay/predict": Role.PREDICT,
    "/v1/models/{product}/versions/{version}/predict": Role.PREDICT,
    "/v1/models/flight_delay/labels": Role.LABEL,
    "/v1/models/{product}/versions/{version}/approvals": Role.APPROVE,
    "/v2": Role.PREDICT,
    "/v2/health/live": NOTHING,
    "/v2/health/ready": NOTHING,
    "/v2/models/{model}": Role.PREDICT,
    "/v2/models/{model}/ready": Role.PREDICT,
    "/v2/models/{model}/infer": Role.PREDICT,
    "/v2/models/{model}/versions/{version}": Role.PREDICT,
    "/v2/models/{model}/versions/{version}/ready": Role.PREDICT,
    "/v2/models/{model}/versions/{version}/infer": Role.PREDICT,
    "/ping": NOTHING,
    "/health": NOTHING,
    "/version": Role.PREDICT,
    "/invocations": Role.PREDICT,
    "/endpoints/{endpoint}/invocations": Role.PREDICT,
    "/livez": NOTHING,
    "/readyz": NOTHING,
    "/score": Role.PREDICT,
}
VERTEX = "/v1/endpoints/1/deployedModels/2:predict"
# what a platform that has no key to send reaches without one
OPEN_ON = {
    "own machine": {},
    "sagemaker": {"/invocations": NOTHING},
    "azure ml": {"/score": NOTHING},
    "vertex ai": {VERTEX: NOTHING, "/healthz": NOTHING},
}
VALUES = {
    "{product}": "flight_delay",
    "{model}": "flight_delay",
    "{endpoint}": "flight_delay",
    "{version}": "1",
    "{path}": "redoc",
    "{name}": "report.html",
}


@dataclass
class Asked:
    """What became of a request. path: unquoted. route: the one that was matched, None where none was."""

    status: int
    path: str
    route: str | None


async def asked(app: Litestar, method: str, target: str, key: str) -> Asked:
    """As uvicorn asks: the path of the request line, unquoted."""
    try:
        url = httptools.parse_url(target.encode())
    except httptools.HttpParserInvalidURLError:
        return Asked(400, "", None)
    path = unquote(url.path.decode("ascii"))
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": url.path,
        "query_string": url.query or b"",
        "headers": [(b"host", b"localhost"), *([(b"x-api-key", key.encode())] if key else [])],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
        "state": {},
    }
    statuses: list[int] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)  # type: ignore[arg-type]
    return Asked(statuses[0], path, scope.get("path_template"))


def spellings(path: str) -> Iterator[str]:
    """Ways to write a path, of which some reach its route and some reach none."""
    first, last = path[1:2] or "x", path[-1]
    yield from (path, f"/{path}", f"///{path}", f"{path}/", f"{path}//", f"{path}%2f", f"{path}/%2F", f"{path}?a=b")
    yield from (path.replace("/", "//"), "/" + path[1:].replace("/", "%2f"), f"/%2f{path[1:]}", f"/%5c{path[1:]}")
    yield from (f"/.{path}", f"/x/..{path}", f"/%2e%2e{path}", f"{path}/.", f"{path};a=b", f"{path}%00", f"{path}%20")
    yield from (path.upper(), f"/%{ord(first):02x}{path[2:]}", f"{path[:-1]}%{ord(last):02x}", f"{path}%0a")
    yield from ("/" + "".join(f"%{ord(letter):02X}" for letter in path[1:]), f"/%25{ord(first):02x}{path[2:]}")
    yield f"http://test{path}"


@pytest.fixture(scope="module", params=OPEN_ON)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Litestar, dict[str, str]]:
    """The API as one platform starts it, and what each of its routes needs."""
    workspace = Workspace(tmp_path_factory.mktemp("roles"))
    deploy_tiny(workspace.of(flight_delay))
    workspace.objects.put("reports/report.html", b"a report")
    write_tiny_folder(workspace.home / "pinned", flight_delay)
    of_platform = OPEN_ON[request.param]
    platform = None
    if request.param != "own machine":
        is_vertex = request.param == "vertex ai"
        platform = Platform(
            request.param,
            0,
            workspace.home / "pinned",
            tuple(of_platform),
            predict_route=VERTEX if is_vertex else "",
            health_route="/healthz" if is_vertex else "",
        )
    pinned = None if platform is None else PinnedBundle("flight_delay", workspace.home / "pinned")
    settings = settings_on(workspace, keys=keys_from(VARIABLES), platform=platform, pinned=pinned)
    return create_app(settings, [flight_delay]), {**NEEDED, **of_platform}


def may(caller: str, needed: str) -> bool:
    return caller in KEYS and (needed == ANYTHING or caller in (needed, Role.ADMIN))


def routes_of(app: Litestar) -> Iterator[tuple[str, str, str]]:
    """Template, path and method of each."""
    for route in app.routes:
        assert isinstance(route, HTTPRoute)
        # of products without a route of their own
        path = route.path_format.replace("{product}/predict", "unknown/predict")
        for name, value in VALUES.items():
            path = path.replace(name, value)
        for method in sorted({*route.methods, "HEAD"}):
            yield route.path_format, path, method


def test_every_route_is_in_the_table_of_what_is_needed(served: tuple[Litestar, dict[str, str]]) -> None:
    app, needed = served

    assert {template for template, _, _ in routes_of(app)} == set(needed)


async def verdicts(app: Litestar, needed: dict[str, str], caller: str) -> tuple[list[str], set[str]]:
    """What one caller was wrongly given or refused, and the routes that were reached otherwise than by their own path."""
    wrong, reached_by_others = [], set()
    for _, path, method in routes_of(app):
        ways = list(spellings(path))
        for target in ways[:4] if method in ("HEAD", "OPTIONS") else ways:
            found = await asked(app, method, target, CALLERS[caller])
            if method == "HEAD":
                is_right = found.status == (await asked(app, "GET", target, CALLERS[caller])).status
            elif found.route is None:
                is_right = found.status in (400, 401, 403, 404, 405)
            elif method == "OPTIONS":  # it says which methods there are
                is_right = (found.status == 204) <= (caller in KEYS)
            elif needed[found.route] == NOTHING:  # without a key only as it is written
                is_right = (found.status != 401) == (caller in KEYS or found.path == found.route)
            else:
                is_right = (found.status not in (401, 403)) == may(caller, needed[found.route])
            if not is_right:
                wrong.append(f"{caller}: {method} {target} reached {found.route} with {found.status}")
            if found.route is not None and target != path:
                reached_by_others.add(found.route)
    return wrong, reached_by_others


@pytest.mark.parametrize("caller", CALLERS)
def test_whatever_a_path_is_spelt_like_the_matched_route_asks_for_its_role(
    served: tuple[Litestar, dict[str, str]], caller: str
) -> None:
    app, needed = served

    wrong, reached_by_others = asyncio.run(verdicts(app, needed, caller))

    assert wrong == []
    if caller in KEYS:  # else the spellings would try nothing
        assert set(needed) == reached_by_others


def test_a_route_that_declares_no_role_answers_nobody(workspace: Workspace) -> None:
    @get("/forgotten", sync_to_thread=False)
    def forgotten() -> str:
        return "a secret"

    with a_client(workspace, [flight_delay], keys=keys_from(VARIABLES)) as client:
        client.app.register(Router("/", route_handlers=[forgotten]))
        answers = [client.get("/forgotten", headers={"x-api-key": key} if key else {}) for key in CALLERS.values()]

    assert {answer.status_code for answer in answers} == {401, 403}
    assert "secret" not in "".join(answer.text for answer in answers)


@pytest.mark.parametrize("spelling", ["/{}", "{}/", "{}%2f", "//{}"])
def test_a_predict_key_signs_no_approval_and_reads_no_report(workspace: Workspace, spelling: str) -> None:
    deploy_tiny(workspace.of(flight_delay))
    workspace.objects.put("reports/report.html", b"a report")
    app = create_app(settings_on(workspace, keys=keys_from(VARIABLES)), [flight_delay])

    async def statuses() -> list[int]:
        return [
            (await asked(app, method, spelling.format(path), KEYS["predict"])).status
            for method, path in (
                ("POST", "/v1/models/flight_delay/versions/5/approvals"),
                ("GET", "/reports/report.html"),
                ("POST", "/v1/models/flight_delay/labels"),
            )
        ]

    assert set(asyncio.run(statuses())) == {403}
