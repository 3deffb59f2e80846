"""One connection in pipeline mode: statements go out one behind another, and results come back in order.

Nothing here waits: whoever has time looks after the connection, an event loop when the socket can be read, or
a thread that blocks. So one connection serves all threads and event loops of a process, in one order.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result

from ..dialect import Row
from .connecting import Connection
from .values import Encoded

BINARY = 1


@dataclass(frozen=True, slots=True)
class Query:
    """A statement as it is sent; `sent` are its values, their types and formats."""

    sql: bytes
    sent: Encoded


@dataclass(slots=True)
class Result:
    """What came of a statement: its rows, or how many it wrote."""

    names: list[str]
    rows: list[Row]
    count: int


@dataclass(slots=True, eq=False)
class Segment:
    """Statements of one transaction, which commits at its end; inside an open one, a part of it."""

    queries: Sequence[Query]
    results: list[Result] = field(default_factory=list)
    error: psycopg.Error | None = None
    is_done: bool = False


class Wire:
    """What is under way on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._link = connection.pgconn
        self._transformer = Transformer(connection)
        self._sent: deque[Segment] = deque()
        self._unsent = False
        self.handle = os.dup(self._link.socket)  # libpq closes its own when it likes
        self._link.nonblocking = 1
        self._link.enter_pipeline_mode()

    @property
    def is_busy(self) -> bool:
        return bool(self._sent)

    @property
    def has_unsent(self) -> bool:
        """Whether the socket must take more before anything comes back."""
        return self._unsent

    def send(self, segments: Sequence[Segment]) -> None:
        """Send segments; each is a transaction of its own, unless BEGIN was sent. Raises psycopg.Error."""
        link = self._link
        for segment in segments:
            for query in segment.queries:
                values, types, formats = query.sent
                link.send_query_params(query.sql, values, types, formats, BINARY)
            link.pipeline_sync()
            self._sent.append(segment)
        self._unsent = link.flush() == 1

    @property
    def hides_news(self) -> bool:
        """Whether there may be news though the socket has none: OpenSSL decrypts more than libpq then takes.

        A libpq of Postgres 15 leaves the end of a record of 16 kB there, as those send them who speak TLS in
        the server's stead.
        """
        return bool(self._sent) and bool(self._link.ssl_in_use)

    def pump(self) -> list[Segment]:
        """Take what has come, and return what is done. Raises psycopg.Error for a lost connection."""
        self._link.consume_input()
        if self._unsent:
            self._unsent = self._link.flush() == 1
        done = self._done()
        if self.hides_news and not self._has_news():
            self._link.consume_input()
            done += self._done()
        return done

    def _has_news(self) -> bool:
        poll = select.poll()
        poll.register(self.handle, select.POLLIN)
        return bool(poll.poll(0))

    def _done(self) -> list[Segment]:
        """Return what is done by what was taken."""
        link, done = self._link, []
        while self._sent and not link.is_busy():
            result = link.get_result()
            if result is None:
                continue
            segment = self._sent[0]
            status = result.status
            if status == pq.ExecStatus.PIPELINE_SYNC:
                segment.is_done = True
                done.append(self._sent.popleft())
            elif status in (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE):
                segment.error = segment.error or error_from_result(result)
            elif status != pq.ExecStatus.PIPELINE_ABORTED:
                segment.results.append(self._read(result))
        return done

    def _read(self, result: Any) -> Result:
        if result.status != pq.ExecStatus.TUPLES_OK:
            return Result([], [], result.command_tuples or 0)
        names = [result.fname(number).decode() for number in range(result.nfields)]
        transformer = self._transformer
        transformer.set_pgresult(result)
        rows: list[Row] = transformer.load_rows(0, result.ntuples, tuple)
        return Result(names, rows, result.ntuples)

    def wait(self, timeout_s: float, wake: int) -> None:
        """Block until the socket is ready, or `wake` can be read, or the time is over."""
        poll = select.poll()
        poll.register(self.handle, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        poll.register(wake, select.POLLIN)
        poll.poll(timeout_s * 1000)

    def run(self, segments: Sequence[Segment], wake: int) -> None:
        """Send segments and block until they are done; nothing else may be under way."""
        self.send(segments)
        while self._sent:
            self.pump()
            if self._sent:
                self.wait(1.0, wake)

    def close(self) -> None:
        """Close the connection; `let_go` closes the handle, which event loops may still watch."""
        self._connection.close()

    def let_go(self) -> None:
        os.close(self.handle)

    def leave(self) -> None:
        """Let go of it in a forked child: whatever closes it there says nothing to the server."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, self._link.socket)
        os.close(nowhere)
        self.close()
        self.let_go()
