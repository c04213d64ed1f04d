"""`python -m serving`: the prediction API, until SIGTERM or Ctrl-C."""

import logging
import socket
import sys

from mlops_assets.errors import PlatformError
from serving import server
from serving.settings import from_environment


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = from_environment()
        listener = server.listen(settings)
        server.run(settings, listener, lambda: _announce(listener))
    except PlatformError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


def _announce(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    print(f"predictions at http://{f'[{host}]' if ':' in host else host}:{port}, documented at /schema", flush=True)


if __name__ == "__main__":
    sys.exit(main())
