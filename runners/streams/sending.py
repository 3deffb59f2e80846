"""What a worker tells those who listen to its threads: gathered for a moment, and written at once for all.

A run never waits for it. While nobody listens, no model streams its answer and nothing is written; where it
cannot be written in time, words are dropped, and whoever listens reads the answer from the record.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from langchain_core.messages import BaseMessage

from ...state.errors import StepgraphError
from ...state.journal.jobs import JobRecord
from ...state.journal.streams import Cursor, forgotten, listeners, written
from ...state.session.internals import Tap
from ...state.session.session import Session
from .wire import BEGIN, NODE, PART, SO_FAR, TEXT, TORN, WHOLE, packed, plain, words_of

WRITE_S: Final = 0.025
LOOK_S: Final = 0.2
FORGET_S: Final = 5.0
MOST_WAITING: Final = 20_000  # pieces of one thread
MODES: Final = ("updates", "custom", "tasks")
LOGGER = logging.getLogger("stepgraph.worker")


@dataclass
class _Message:
    """A message that has begun, with its words until now."""

    ns: list[str]
    metadata: dict[str, Any]
    words: list[tuple[str, str]] = field(default_factory=list)
    is_torn: bool = False

    @property
    def so_far(self) -> tuple[str, str]:
        texts, reasonings = zip(*self.words, strict=True) if self.words else ((), ())
        self.words = [("".join(texts), "".join(reasonings))]
        return self.words[0]


class ThreadStream:
    """What one turn of a thread tells."""

    def __init__(self, thread: str, epoch: int) -> None:
        self.thread = thread
        self.tap = Tap(self._put, MODES)
        self._at = Cursor(epoch, 0)
        self._clients: frozenset[str] = frozenset()
        self._waiting: deque[tuple[Any, str, Any]] = deque()
        self._open: dict[str, _Message] = {}
        self._names_late = False

    def hear(self, clients: frozenset[str]) -> None:
        """Take notice of who listens."""
        self._names_late |= bool(self._clients and clients - self._clients)
        self._clients = clients
        if clients:
            self.tap.open()
        elif self.tap.is_open:
            self.tap.close()
            self._waiting.clear()
            self._open.clear()

    def _put(self, chunk: tuple[Any, str, Any]) -> None:
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(chunk)
        elif chunk[1] == "messages" and chunk[2][0].id in self._open:
            self._open[chunk[2][0].id].is_torn = True

    def take(self) -> tuple[Cursor, str] | None:
        """Return what is to be written now, and where."""
        events: list[list[Any]] = []
        if self._names_late:
            self._names_late = False
            events += [[SO_FAR, name, m.ns, m.metadata, *m.so_far] for name, m in self._open.items()]
        last: dict[str, list[Any]] = {}  # the words that were told last of each message
        for _ in range(len(self._waiting)):
            ns, mode, data = self._waiting.popleft()
            if mode == "messages":
                self._tell_message(events, last, list(ns), *data)
            elif mode == "tasks":
                events.append(_node(list(ns), data))
            else:
                events.append([PART, mode, list(ns), packed(data)])
        if not events:
            return None
        self._at = Cursor(self._at.epoch, self._at.number + 1)
        return self._at, json.dumps(events)

    def _tell_message(
        self,
        events: list[list[Any]],
        last: dict[str, list[Any]],
        ns: list[str],
        message: BaseMessage,
        metadata: Mapping[str, Any],
    ) -> None:
        name = str(message.id)
        begun = self._open.get(name)
        if begun is None:
            begun = self._open[name] = _Message(ns, plain(metadata))
            events.append([BEGIN, name, ns, begun.metadata])
        if begun.is_torn:
            events.append([TORN, name, "it came faster than it could be written"])
            del self._open[name]
            return
        words = words_of(message)
        if words is None:
            events.append([WHOLE, name, packed(message)])
            last.pop(name, None)
            if getattr(message, "chunk_position", "last") == "last" or _is_broken(message):
                del self._open[name]
            else:
                begun.words.append((message.text, ""))
            return
        begun.words.append(words)
        if name in last:
            last[name][2] += words[0]
            last[name][3] += words[1]
        else:
            last[name] = [TEXT, name, *words]
            events.append(last[name])

    def tear(self) -> None:
        """Take notice that what was taken last could not be written."""
        for message in self._open.values():
            message.is_torn = True


def _is_broken(message: BaseMessage) -> bool:
    return "broken" in message.response_metadata.get("stepgraph", {})


def _node(ns: list[str], task: Mapping[str, Any]) -> list[Any]:
    """Return that a node begins, or how it ended."""
    if "triggers" in task:
        what = "begins"
    elif task.get("error"):
        what = "fails"
    else:
        what = "waits" if task.get("interrupts") else "ends"
    return [NODE, ns, task["name"], task["id"], what]


class Broadcast:
    """All that a worker tells."""

    def __init__(self, session: Session) -> None:
        self._journal = session.journal
        self._streams: set[ThreadStream] = set()
        self._running: asyncio.Task[None] | None = None
        self._forgotten_at = 0.0

    async def begin(self, record: JobRecord) -> ThreadStream:
        """Return the stream of a turn, which is open already if somebody listens."""
        stream = ThreadStream(record.thread_id, record.epoch)
        self._streams.add(stream)
        if record.is_heard:
            await self._look()
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._run())
        return stream

    async def end(self, stream: ThreadStream) -> None:
        """Write what is left of a turn's stream: before anybody learns that the turn has ended."""
        await self._write([stream])
        self._streams.discard(stream)
        stream.hear(frozenset())

    async def _run(self) -> None:
        looked = time.monotonic()
        while self._streams:
            await asyncio.sleep(WRITE_S)
            if time.monotonic() - looked >= LOOK_S:
                await self._look()
                looked = time.monotonic()
            await self._write(list(self._streams))

    async def _look(self) -> None:
        try:
            clients = await listeners(self._journal)
        except StepgraphError:
            return
        for stream in self._streams:
            stream.hear(frozenset(clients.get(stream.thread, ())))

    async def _write(self, streams: list[ThreadStream]) -> None:
        batches = [(stream, *taken) for stream in streams if (taken := stream.take())]
        if not batches:
            return
        statements = written(self._journal, [(stream.thread, at, events) for stream, at, events in batches])
        if time.monotonic() - self._forgotten_at > FORGET_S:
            self._forgotten_at = time.monotonic()
            statements += forgotten(self._journal)
        try:
            await self._journal.awrite(statements)
        except StepgraphError as error:
            LOGGER.debug("What was streamed could not be written: %s", error)
            for stream, *_ in batches:
                stream.tear()
