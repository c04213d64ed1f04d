"""`python -m serving`: the prediction API in this process, until SIGTERM or Ctrl-C."""

import errno
import logging
import socket
import sys

import uvicorn

from mlops_assets.errors import PlatformError, PortTaken
from serving.app import create_app
from serving.settings import Settings, from_environment

GRACE_SECONDS = 10  # for requests in flight when the process is asked to end


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = from_environment()
        app = create_app(settings)
        listener = _listen(settings)
    except PlatformError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    host, port = listener.getsockname()[:2]
    print(f"predictions at http://{f'[{host}]' if ':' in host else host}:{port}, documented at /schema", flush=True)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_SECONDS)
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortTaken(
            f"{settings.host}:{settings.port} is in use. Set MLOPS_PORT to another port, or to 0 for a free one."
        ) from error
    listener.listen(2_048)
    return listener


if __name__ == "__main__":
    sys.exit(main())
