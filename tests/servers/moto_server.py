"""moto's server with one change at a time, as S3 makes them: by itself it looks for an object and then writes it, so that two
writers with `If-None-Match: *` may both win on a busy machine. Usage: python moto_server.py PORT"""

import io
import sys
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def one_change_at_a_time(application: Application) -> Application:
    changing = Lock()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return application(environ, start_response)
        # the body first: a client that is slow to send it must not keep the others waiting
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        with changing:
            return list(application(environ, start_response))

    return answer


if __name__ == "__main__":
    run_simple(
        "127.0.0.1",
        int(sys.argv[1]),
        one_change_at_a_time(DomainDispatcherApplication(create_backend_app)),
        threaded=True,
    )
