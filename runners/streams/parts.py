"""The parts of a stream of a thread that workers run: LangGraph's own, how its nodes go, how it stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypedDict

from langchain_core.messages import AIMessageChunk

from ...providers.stack.streaming import CALL, MARKS
from ...state.journal.jobs import JobStatus
from ...state.journal.streams import Answered, Cursor, Standing, Written
from .wire import BEGIN, NODE, PART, SO_FAR, TEXT, TORN, WHOLE, broken, chunk_of, unpacked

DEFAULT_MODES: Final = ("updates", "messages", "custom", "nodes", "status")
DIED: Final = "its worker ended before it was answered"


class NodeEvent(TypedDict):
    """A node begins or ends, or begins again because its worker died; `path` has the nodes around it."""

    node: str
    path: str
    event: Literal["begins", "begins again", "ends", "fails", "waits"]


class StatusEvent(TypedDict):
    """How a thread stands. `again` are the paths of nodes that were under way, and begin again."""

    status: JobStatus
    again: list[str]


class NodePart(TypedDict):
    """A part of a stream: what becomes of a node."""

    type: Literal["nodes"]
    ns: tuple[str, ...]
    data: NodeEvent


class StatusPart(TypedDict):
    """A part of a stream: how the thread stands."""

    type: Literal["status"]
    ns: tuple[str, ...]
    data: StatusEvent


Part = Mapping[str, Any]


@dataclasses.dataclass
class _Heard:
    ns: tuple[str, ...]
    metadata: Mapping[str, Any]


class Parts:
    """Makes parts of what was written for a thread; `heard` has the calls whose answers were told."""

    def __init__(self, standing: Standing, heard: set[str]) -> None:
        self.heard = heard
        self._status: JobStatus = standing.status
        self._epoch = standing.epoch
        self._open: dict[str, _Heard] = {}
        self._nodes: dict[str, str] = {}  # the nodes that have begun, by their tasks: their paths
        self._again: set[str] = set()

    def status(self) -> StatusPart:
        return _status(self._status, [])

    def written(self, written: Written) -> Iterator[Part]:
        """Give the parts of what was written at once."""
        yield from self._turn(written.at)
        for what, *details in written.events:
            if what == NODE:
                yield self._node(*details)
            elif what == PART:
                mode, ns, content = details
                yield {"type": mode, "ns": tuple(ns), "data": None if content is None else unpacked(content)}
            else:
                yield from self._message(what, *details)

    def stands(self, standing: Standing) -> Iterator[Part]:
        """Give the parts that say how the thread stands, where that has changed."""
        if standing.epoch < self._epoch:
            return
        if standing.status == "running":
            yield from self._turn(Cursor(standing.epoch, 0))
        elif standing.status != self._status:
            yield from self._void()
            self._status = standing.status
            yield self.status()

    def _turn(self, at: Cursor) -> Iterator[Part]:
        """Give what is told when another turn has begun than the one that was heard."""
        if at.epoch <= self._epoch and self._status == "running":
            return
        again = sorted(set(self._nodes.values()))
        self._again = {*self._again, *self._nodes}
        self._nodes.clear()
        yield from self._void()
        self._status, self._epoch = "running", max(at.epoch, self._epoch)
        yield _status("running", again)

    def _void(self) -> Iterator[Part]:
        for name, message in self._open.items():
            yield _message(message, broken(name, DIED))
        self._open.clear()

    def _node(self, ns: list[str], name: str, task: str, what: Any) -> NodePart:
        path = "/".join([*(part.partition(":")[0] for part in ns), name])
        if what == "begins":
            self._nodes[task] = path
            if task in self._again:
                self._again.discard(task)
                what = "begins again"
        else:
            self._nodes.pop(task, None)
        return {"type": "nodes", "ns": tuple(ns), "data": {"node": name, "path": path, "event": what}}

    def _message(self, what: str, name: str, *details: Any) -> Iterator[Part]:
        if what in (BEGIN, SO_FAR) and name not in self._open:
            ns, metadata, *words = details
            if metadata.get(CALL) in self.heard:
                return  # from the record, by a turn that goes on
            begun = self._open[name] = _Heard(tuple(ns), metadata)
            if words and any(words):
                yield _message(begun, chunk_of(name, *words))
            return
        known = self._open.get(name)
        if known is None:
            return  # it began before anybody listened: all of it comes from the record
        if what == TEXT:
            yield _message(known, chunk_of(name, *details))
        elif what == TORN or (what == WHOLE and details[0] is None):
            del self._open[name]
            yield _message(known, broken(name, "the rest of it could not be sent"))
        elif what == WHOLE:
            yield self._whole(name, known, unpacked(details[0]))

    def _whole(self, name: str, known: _Heard, message: Any) -> Part:
        marks = message.response_metadata.get(MARKS, {})
        if getattr(message, "chunk_position", "last") == "last":
            del self._open[name]
            if CALL in known.metadata:
                self.heard.add(known.metadata[CALL])
        elif "broken" in marks:
            del self._open[name]
        return _message(known, message)

    def answered(self, calls: list[Answered], *, late: bool) -> Iterator[Part]:
        """Give the answers on record that were not told; those of foreign models only to who comes `late`."""
        for call in calls:
            named = f"{call.task} {call.request_hash[:16]} {call.occurrence}"
            if {call.id, named} & self.heard or (call.request_hash.startswith("observed ") and not late):
                continue
            self.heard |= {call.id, named}
            for name, message in list(self._open.items()):
                if message.metadata.get(CALL) == named:  # what was told of it before is in the answer
                    del self._open[name]
                    yield _message(message, broken(name, "its answer follows as a whole"))
            yield _answer(call, named)


def _answer(call: Answered, named: str) -> Part:
    task = call.task.split("|")
    metadata = {
        "langgraph_checkpoint_ns": call.task,
        "langgraph_node": task[-1].partition(":")[0],
        "ls_model_name": call.model,
        "ls_model_type": "chat",
        "stepgraph_step": call.step,
        CALL: named,
    }
    tool_calls = [{**each, "index": number} for number, each in enumerate(call.tool_calls)]
    message = AIMessageChunk(
        content=call.answer or "",
        id=f"run-{call.id}",
        additional_kwargs={"reasoning_content": call.reasoning} if call.reasoning else {},
        response_metadata={
            "model_name": call.model,
            "finish_reason": call.finish_reason,
            MARKS: {"replayed": True},
        },
        tool_calls=[
            {"name": each["name"], "args": each.get("arguments") or {}, "id": each.get("id")}
            for each in tool_calls
        ],
        chunk_position="last",
    )
    return _message(_Heard(tuple(task[:-1]), metadata), message)


def _message(message: _Heard, chunk: Any) -> Part:
    return {"type": "messages", "ns": message.ns, "data": (chunk, dict(message.metadata))}


def _status(status: JobStatus, again: list[str]) -> StatusPart:
    return {"type": "status", "ns": (), "data": {"status": status, "again": again}}
