"""Something between a session and Postgres that loses the answer to a transaction which is committed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

IDLE, OPEN = b"Z\0\0\0\x05I", b"Z\0\0\0\x05T"  # end what a server says after a transaction, and in one


class Line:
    """A port before a server. After `cut` a transaction is committed, and nobody is told."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._left = 0
        self.was_cut = threading.Event()
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self, after: int = 0) -> None:
        """Lose an answer: the next one, or a later one."""
        self.was_cut.clear()
        self._left = after + 1

    def _accept(self) -> None:
        with suppress(OSError):  # it is closed
            while True:
                outer, _ = self._listener.accept()
                inner = socket.create_connection(("127.0.0.1", self._server))
                self._ends += [outer, inner]
                for ends in ((outer, inner, False), (inner, outer, True)):
                    thread = threading.Thread(target=self._carry, args=ends, daemon=True)
                    thread.start()
                    self._threads.append(thread)

    def _carry(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        kept, is_open = b"", False
        with suppress(OSError):
            while data := source.recv(2**16):
                if is_answer and self._left and is_open:
                    kept += data
                    if self._left == 1 and kept.endswith(IDLE):
                        self._left = 0
                        self.was_cut.set()
                        break
                    if self._left == 1 and not kept.endswith(OPEN):
                        continue
                    self._left -= kept.endswith(IDLE)
                    data, kept = kept, b""
                is_open = is_open or data.endswith(IDLE)  # the connection itself is always told
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
        for end in (self._listener, *self._ends):
            end.close()


@contextmanager
def line_to(port: int) -> Iterator[Line]:
    """Lend a line to a server on loopback."""
    line = Line(port)
    try:
        yield line
    finally:
        line.close()
