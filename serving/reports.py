"""`/reports`: pages that may contain untrusted data, each in a sandbox."""

from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from mlops_assets.errors import DeclarationError, StoreError
from mlops_assets.state.objects import Objects
from mlops_assets.state.reports import FOLDER
from serving.access import NEEDS, Role
from serving.errors import NotServing

# without allow-same-origin a script in a page has an origin of its own, and can neither read the API nor send to it
SANDBOX = "; ".join(
    (
        "sandbox allow-scripts",
        "default-src 'none'",
        "script-src 'unsafe-inline'",
        "style-src 'unsafe-inline'",
        "img-src data: blob:",
        "font-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
MEDIA_TYPES = {"html": "text/html; charset=utf-8", "md": "text/markdown; charset=utf-8", "png": "image/png"}


def reports_route(objects: Objects) -> HTTPRouteHandler:
    """A report from the state, unchanged."""

    @get("/reports/{name:path}", include_in_schema=False, opt={NEEDS: Role.ADMIN}, sync_to_thread=True)
    def read_report(name: FromPath[str]) -> Response[bytes]:
        try:
            content = objects.get(f"{FOLDER}/{name.strip('/')}")
        except DeclarationError:  # the path cannot be the name of an object
            content = None
        except StoreError as error:
            raise NotServing(f"the report cannot be read: {error}") from None
        if content is None:
            raise NotFoundException(f"there is no report {name.strip('/')}.")
        media_type = MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream")
        headers = {"Content-Security-Policy": SANDBOX, "X-Content-Type-Options": "nosniff"}
        return Response(content, media_type=media_type, headers=headers)

    return read_report
