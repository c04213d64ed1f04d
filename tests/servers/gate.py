"""A gate in front of a server on loopback: the one way to it for whoever is given its address, which can be closed."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Gate:
    """Open at first. address: what clients are given in place of the server's own."""

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self._server = (parts.hostname or "", parts.port or 80)
        self._may_pass = threading.Event()
        self._may_pass.set()
        self._connections: set[socket.socket] = set()
        self._listen(port=0)
        self.address = f"http://127.0.0.1:{self._listening.server_address[1]}"

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Within the block nobody listens there, and connections that were open are cut."""
        self.close()
        try:
            yield
        finally:
            self._listen(self._listening.server_address[1])

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Within the block connections are taken and kept, and nothing is heard of the server."""
        self._may_pass.clear()
        try:
            yield
        finally:
            self._may_pass.set()

    def close(self) -> None:
        self._listening.shutdown()
        self._listening.server_close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _listen(self, port: int) -> None:
        gate = self

        class Visit(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                gate.pass_on(self.request)

        class Listening(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

        self._listening = Listening(("127.0.0.1", port), Visit)
        self._thread = threading.Thread(target=self._listening.serve_forever, args=(0.01,), name="gate")
        self._thread.start()

    def pass_on(self, here: socket.socket) -> None:
        """Both ways, until either side ends."""
        with socket.create_connection(self._server) as there:
            ends = {here, there}
            self._connections |= ends
            back = threading.Thread(target=self._pump, args=(there, here), daemon=True)
            back.start()
            self._pump(here, there)
            back.join()
            self._connections -= ends

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65_536):
                self._may_pass.wait()
                sink.sendall(content)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def a_gate(server: str) -> Iterator[Gate]:
    gate = Gate(server)
    try:
        yield gate
    finally:
        gate.close()
