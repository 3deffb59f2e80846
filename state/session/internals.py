"""All that stepgraph uses of LangGraph's private parts; tests/state/session/test_internals.py guards it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.runnables import Runnable
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from langgraph._internal._constants import (
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_DURABILITY,
    CONFIG_KEY_READ,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_STREAM,
    CONFIG_KEY_TASK_ID,
)
from langgraph._internal._runnable import RunnableCallable
from langgraph._internal._typing import MISSING
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.serde.types import _DeltaSnapshot as DeltaSnapshot
from langgraph.config import get_config
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel._algo import _xxhash_str, prepare_next_tasks
from langgraph.pregel._checkpoint import channels_from_checkpoint, copy_checkpoint
from langgraph.pregel._loop import PregelLoop
from langgraph.pregel._messages import StreamMessagesHandler, _with_message_ids as with_message_ids
from langgraph.pregel._read import PregelNode
from langgraph.pregel._task_status import read_task_statuses
from langgraph.pregel._write import ChannelWrite
from langgraph.pregel.protocol import StreamChunk, StreamProtocol
from langgraph.runtime import DEFAULT_RUNTIME
from langgraph.types import PregelExecutableTask, Send, _interrupt_id as interrupt_id

from ..names import LEDGERS_KEY

SENT = "__pregel_tasks"
NOTHING_WRITTEN = "__no_writes__"
NO_TASK = "00000000-0000-0000-0000-000000000000"  # whose writes are a run's own, such as an answer

__all__ = [
    "CONFIG_KEY_CHECKPOINTER",
    "CONFIG_KEY_CHECKPOINT_MAP",
    "CONFIG_KEY_DURABILITY",
    "CONFIG_KEY_RUNTIME",
    "MISSING",
    "NOTHING_WRITTEN",
    "NO_TASK",
    "SENT",
    "DeltaSnapshot",
    "Tap",
    "attempt_of",
    "chunk_handler",
    "execution_of",
    "hears_tokens",
    "interrupt_id",
    "is_nested",
    "next_tasks",
    "node_of",
    "read_task_statuses",
    "sent_ids",
    "through",
    "with_message_ids",
]


def execution_of(configurable: Mapping[str, Any]) -> Any:
    """Return an object that is the same throughout one execution of a node, and new for the next.

    LangGraph hands each node execution a reader of its own; a node that runs again after an
    interrupt or a crash keeps its task id but gets a new reader.
    """
    return configurable.get(CONFIG_KEY_READ)


def attempt_of(configurable: Mapping[str, Any]) -> int:
    """Return how often LangGraph's RetryPolicy has begun this node execution: 1 for the first time."""
    info = getattr(configurable.get(CONFIG_KEY_RUNTIME), "execution_info", None)
    return getattr(info, "node_attempt", 1)


def node_of(
    function: Callable[..., Any] | None, afunction: Callable[..., Any] | None = None
) -> Runnable[Any, Any]:
    """Return functions as a node that gets `config`, `runtime` and the like injected, untraced."""
    return RunnableCallable(function, afunction, trace=False)


def hears_tokens(handler: Any) -> bool:
    """Tell whether a callback handler wants an answer's words as they come, as LangGraph's streams do."""
    return isinstance(handler, _StreamingCallbackHandler)


class _Chunks(AsyncCallbackHandler):
    """Hands on the chunks of an answer; of a model inside the one that is asked, only that there are some."""

    run_inline = True
    raise_error = True

    def __init__(self, take: Callable[[Any], Awaitable[None]]) -> None:
        self._take = take
        self._run: Any = None

    async def on_chat_model_start(self, *_: Any, run_id: Any, **kwargs: Any) -> None:
        self._run = self._run or run_id

    async def on_llm_new_token(self, token: Any, *, chunk: Any = None, run_id: Any, **kwargs: Any) -> None:
        is_own = chunk is not None and run_id == self._run
        if is_own or token:
            await self._take(chunk if is_own else None)


class _StreamedChunks(_Chunks, _StreamingCallbackHandler[Any]):
    """Makes LangChain stream an answer."""

    def tap_output_aiter(self, run_id: Any, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        return output

    def tap_output_iter(self, run_id: Any, output: Iterator[Any]) -> Iterator[Any]:
        return output


def chunk_handler(take: Callable[[Any], Awaitable[None]], *, streams: bool) -> BaseCallbackHandler:
    """Return a callback handler that hands an answer's chunks to `take`; None for one that it has not got.

    With `streams` LangChain streams the answer; without, there are chunks only if somebody else wants some.
    """
    return (_StreamedChunks if streams else _Chunks)(take)


class _Deaf(BaseCallbackHandler):
    run_inline = True
    ignore_llm = ignore_chat_model = ignore_chain = ignore_agent = True
    ignore_retriever = ignore_retry = ignore_custom_event = True

    @property
    def is_heard(self) -> bool:
        return False


class _Hearing(StreamMessagesHandler):
    @property
    def is_heard(self) -> bool:
        return True


class Tap:
    """Hears what a run streams, in whatever way it is run, while it is open; else it costs nothing.

    `put` gets what LangGraph's streams give, (place, mode, data), of these modes and of messages. It may be
    called from any thread.
    """

    def __init__(self, put: Callable[[StreamChunk], None], modes: Sequence[Any]) -> None:
        self._put = put
        self._modes = set(modes)
        self.is_open = False
        self.handler: BaseCallbackHandler = _Hearing(self._hear, True)
        self._turn()

    def open(self) -> None:
        """Hear what begins from now on."""
        if not self.is_open:
            self.is_open = True
            self._turn()

    def close(self) -> None:
        self.is_open = False
        self._turn()

    def _turn(self) -> None:
        """Make the handler LangGraph's own, or one that asks for nothing.

        By what a handler is, LangChain decides whether a model streams its answer; and a run's handlers are
        copied into each of its nodes, so that none can be added or taken away.
        """
        setattr(self.handler, "__class__", _Hearing if self.is_open else _Deaf)  # noqa: B010
        vars(self.handler).update(metadata={}, seen=set())

    def _hear(self, chunk: StreamChunk) -> None:
        if self.is_open:
            self._put(chunk)

    def _write(self, data: Any) -> None:
        if self.is_open:
            task = str(get_config()["configurable"]["checkpoint_ns"])
            self._hear((tuple(task.split("|"))[:-1], "custom", data))

    @property
    def configurable(self) -> dict[str, Any]:
        """What makes LangGraph hand over what it streams, and what nodes write to their stream."""
        runtime = DEFAULT_RUNTIME.override(stream_writer=self._write)
        return {CONFIG_KEY_STREAM: StreamProtocol(self._hear, self._modes), CONFIG_KEY_RUNTIME: runtime}


def is_nested(configurable: Mapping[str, Any]) -> bool:
    """Tell whether a graph with this config runs as a node of another graph."""
    return CONFIG_KEY_TASK_ID in configurable


def through(
    node: PregelNode, change: Callable[[Any, Sequence[tuple[str, Any]]], Sequence[tuple[str, Any]]]
) -> PregelNode:
    """Return a node whose state updates go through `change`, which gets what it returned and its writes."""
    updating: Any
    updating, *others = node.writers
    entry, *rest = updating.writes

    def changed(value: Any) -> Sequence[tuple[str, Any]]:
        return change(value, entry.mapper(value) or ())

    return node.copy({"writers": [ChannelWrite((entry._replace(mapper=changed), *rest)), *others]})


def next_tasks(
    graph: CompiledStateGraph[Any, Any, Any, Any],
    saved: CheckpointTuple,
    saver: BaseCheckpointSaver[Any],
) -> dict[str, PregelExecutableTask]:
    """Return what a graph runs next from a checkpoint, by ids, each with its input. Nothing is run."""
    checkpoint = copy_checkpoint(saved.checkpoint)
    graph._migrate_checkpoint(checkpoint)  # noqa: SLF001
    step = (saved.metadata or {}).get("step", -1) + 1
    channels, managed = channels_from_checkpoint(graph.channels, checkpoint, saver=saver, config=saved.config)
    return prepare_next_tasks(
        checkpoint,
        saved.pending_writes or [],
        graph.nodes,
        channels,
        managed,
        saved.config,
        step,
        step + 2,
        for_execution=True,
        store=None,
        checkpointer=saver,
        manager=None,
    )


def sent_ids(checkpoint_id: str, graph_task: str, step: int, sends: Sequence[Send]) -> list[str]:
    """Return the ids of the tasks that sends make, at the step of a graph that runs as a task."""
    known = bytes.fromhex(checkpoint_id.replace("-", ""))
    return [
        _xxhash_str(
            known,
            f"{graph_task}|{sent.node}" if graph_task else sent.node,
            str(step),
            sent.node,
            "__pregel_push",
            str(number),
        )
        for number, sent in enumerate(sends)
    ]


class _NothingToWrite:
    """The writing of the checkpoint of a graph that keeps none."""

    def result(self) -> None:
        return None

    def __await__(self) -> Iterator[Any]:
        return iter(())


def _ending(tick: Callable[[PregelLoop], bool]) -> Callable[[PregelLoop], bool]:
    def until_the_end(loop: PregelLoop) -> bool:
        goes_on = tick(loop)
        if loop.status == "out_of_steps" and not loop.tasks and LEDGERS_KEY in loop.config["configurable"]:
            loop.status = "done"
        return goes_on

    return until_the_end


# A graph that has nothing left to do has ended, also where its budget of supersteps has: LangGraph raises.
setattr(PregelLoop, "tick", _ending(PregelLoop.tick))  # noqa: B010
# With durability "sync", LangGraph waits for it in a subgraph with checkpointer=False too, where it never is.
setattr(PregelLoop, "_put_checkpoint_fut", _NothingToWrite())  # noqa: B010
