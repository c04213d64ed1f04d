"""The processes of the API: a single one, or several workers on one port with a parent that watches them."""

import errno
import gc
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from types import FrameType

import uvicorn
from litestar import Litestar
from litestar.exceptions import ImproperlyConfiguredException

from mlops_assets.errors import DeclarationError, PlatformError, PortTaken
from serving import logs
from serving.connection import Connection
from serving.settings import Settings
from serving.shared_metrics import forget_gauges, remove_folder, reserve_room, shared_folder

GRACE_SECONDS = 10  # for requests in flight when the process is told to end
PARENT_SECONDS = 0.5  # between two checks whether the parent process is alive
UNUSABLE = 2  # exit code when another attempt would fail as well
RESTART_SECONDS = 1.0  # at least between two starts of a worker
_log = logging.getLogger(__name__)


def listen(settings: Settings) -> socket.socket:
    """Raises PortTaken. Raises DeclarationError: the address cannot be used."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except (OSError, UnicodeError) as error:  # UnicodeError: the text cannot be a host name
        listener.close()
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise PortTaken(
                f"{settings.host}:{settings.port} is in use. Set MLOPS_PORT to another port, or to 0 for a free one."
            ) from error
        raise DeclarationError(
            f"the API cannot listen on {settings.host[:100]}:{settings.port} ({error}). Set MLOPS_HOST to an address of this "
            "machine, such as 127.0.0.1, and MLOPS_PORT to a port that this user may use."
        ) from None
    listener.listen(2_048)
    return listener


def run(
    settings: Settings,
    listener: socket.socket,
    announce: Callable[[], None],
) -> None:
    """Answer on the listener until SIGTERM or Ctrl-C, in this process or in `settings.workers` processes.

    announce: called when the first process starts to answer. Raises PlatformError: these settings cannot be served."""
    with shared_folder(settings.workers) as metrics:
        if settings.workers == 1:
            _answer(settings, listener, announce)
        else:
            _watch(settings, listener, announce, metrics)


def end_with(parent: int, before: Callable[[], None] = lambda: None) -> None:
    """End in good order once `parent` has ended; a parent that was killed could not end this process itself.

    before: called first."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    _log.error("the parent process %d has ended, so this process ends", parent)
    before()
    os.kill(os.getpid(), signal.SIGTERM)


def http_server(app: Litestar, settings: Settings) -> uvicorn.Server:
    """The HTTP server of the application. Every setting is named, so that none depends on a default."""

    class Limited(Connection):
        header_seconds = settings.header_seconds
        refused = staticmethod(app.state.refused)

    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            timeout_keep_alive=settings.keep_alive_seconds,  # type: ignore[arg-type] # uvicorn's type is int, and it takes fractions
            timeout_graceful_shutdown=GRACE_SECONDS,
            loop="uvloop",
            http=Limited,
            ws="none",
            server_header=False,
            date_header=False,
        )
    )


def _application(settings: Settings) -> Litestar:
    """Raises PlatformError: these settings cannot be served."""
    from serving.app import create_app

    try:
        return create_app(settings)
    except ImproperlyConfiguredException as error:  # another route has the path that Vertex AI names
        raise DeclarationError(
            f"the routes cannot be built: {error.detail.rstrip('.')}. Check AIP_PREDICT_ROUTE and AIP_HEALTH_ROUTE."
        ) from None


def _answer(settings: Settings, listener: socket.socket, announce: Callable[[], None]) -> None:
    app = _application(settings)
    announce()
    server = http_server(app, settings)
    end, is_leaving = server.handle_exit, False

    def leave(number: int, frame: FrameType | None) -> None:
        """At the first signal, report not ready and continue to answer for `drain_seconds`. Then, or at a second signal, end."""
        nonlocal is_leaving
        app.state.leave()
        if is_leaving or not settings.drain_seconds:
            end(number, frame)
            return
        is_leaving = True
        timer = threading.Timer(settings.drain_seconds, end, (number, frame))
        timer.daemon = True
        timer.start()

    server.handle_exit = leave  # type: ignore[assignment, method-assign]
    # a full collection of the 90,000 imported objects, which are never freed, would delay requests by 30 ms
    gc.freeze()
    server.run(sockets=[listener])


def _worker(settings: Settings, listener: socket.socket, is_up: Event) -> None:
    logs.configure(settings.log_form)
    # Ctrl-C reaches the whole process group, and the parent ends its workers in good order
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (watcher := multiprocessing.parent_process()) is not None and watcher.pid is not None:
        threading.Thread(target=end_with, args=(watcher.pid, remove_folder), name="watcher", daemon=True).start()
    reserve_room()
    try:
        _answer(settings, listener, is_up.set)
    except PlatformError as error:
        _log.error("%s: %s", type(error).__name__, error)
        sys.exit(UNUSABLE)


def _watch(settings: Settings, listener: socket.socket, announce: Callable[[], None], metrics: Path | None) -> None:
    """Keep the workers running. They accept from one listener, so a free worker takes the next connection."""
    # a fresh interpreter for each, because threads of ONNX Runtime and Polars do not survive a fork
    context = multiprocessing.get_context("spawn")
    is_up = context.Event()
    is_ending = is_announced = False

    def end(*_: object) -> None:
        nonlocal is_ending
        is_ending = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)

    def started() -> tuple[BaseProcess, float]:
        process = context.Process(target=_worker, args=(settings, listener, is_up), name="worker")
        process.start()
        return process, time.monotonic()

    workers = [started() for _ in range(settings.workers)]
    try:
        while not is_ending:
            if not is_announced and is_up.is_set():
                is_announced = True
                announce()
            multiprocessing.connection.wait([process.sentinel for process, _ in workers], timeout=0.2)
            for place, (process, since) in enumerate(workers):
                if process.exitcode == UNUSABLE and not is_announced:
                    raise DeclarationError("no worker can be started with these settings. Its error is above.")
                if process.is_alive() or is_ending or time.monotonic() - since < RESTART_SECONDS:
                    continue
                _log.error("worker %s ended with code %s; another takes its place", process.pid, process.exitcode)
                if metrics is not None and process.pid is not None:
                    forget_gauges(metrics, process.pid)
                workers[place] = started()
    finally:
        for process, _ in workers:
            process.terminate()
        for process, _ in workers:
            process.join(settings.drain_seconds + GRACE_SECONDS + 5)
            if process.is_alive():
                process.kill()
