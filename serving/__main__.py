"""`python -m serving`: the prediction API, until SIGTERM or Ctrl-C. The argument `serve` is how SageMaker starts it."""

import socket
import sys
import threading

from mlops_assets.errors import PlatformError
from serving import logs, server
from serving.settings import from_environment


def main() -> int:
    try:
        settings = from_environment(arguments=sys.argv[1:])
        logs.configure(settings.log_form)
        settings.workspace.refuse_if_unusable()
        if settings.parent is not None:
            threading.Thread(target=server.end_with, args=(settings.parent,), daemon=True).start()
        listener = server.listen(settings)
        server.run(settings, listener, lambda: _announce(listener))
    except PlatformError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return server.UNUSABLE
    return 0


def _announce(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    print(f"predictions at http://{f'[{host}]' if ':' in host else host}:{port}, documented at /schema", flush=True)


if __name__ == "__main__":
    sys.exit(main())
