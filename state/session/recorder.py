"""Notes every node run of a LangGraph run in the journal; works on any LangGraph graph."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from traceback import walk_tb
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from .. import sigterm
from ..budget import Ledger
from ..cost import Cost
from ..errors import ClaimLost, StepgraphError, ThreadBusy
from ..journal.claims import Claims
from ..journal.journal import Journal
from ..journal.records import Description, NodeRun
from ..json_text import as_json, state_json
from ..names import GRAPH_KEY, path_of
from ..schema import is_state_type
from ..serde import allow
from ..statuses import Lane, NodeStatus, RunStatus
from .fingerprint import GraphMark, check_unchanged
from .outputs import shown_output
from .pauses import budget_end
from .redelivery import digest_of

Graph = CompiledStateGraph[Any, Any, Any, Any]
LANGCHAINS_LOGGER = "langchain_core.callbacks.manager"
STOPPED = "stopped before it ended"
OWN_METADATA = {"thread_id", "ls_integration", "user_id", "user", GRAPH_KEY}


class _AlreadyRaised(logging.Filter):
    """Leaves out what LangChain logs of errors by which the recorder stops a run: the run raises them."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = sys.exception()
        if not isinstance(error, StepgraphError) or error.__traceback__ is None:
            return True
        raised_in = [frame.f_code for frame, _ in walk_tb(error.__traceback__)]
        return not any(code in raised_in for code in _CALLBACKS)


logging.getLogger(LANGCHAINS_LOGGER).addFilter(_AlreadyRaised())


class ThreadTouched(ThreadBusy):
    """A thread of which nothing was on record has been begun meanwhile: it is to be looked up."""


class RunObserver(BaseCallbackHandler):
    """A LangChain callback handler that hears of a graph and its nodes, and stops them by raising."""

    run_inline = True
    raise_error = True
    ignore_llm = True
    ignore_chat_model = True
    ignore_retriever = True
    ignore_agent = True
    ignore_retry = True
    ignore_custom_event = True


class Recorder(RunObserver):
    """Writes node runs and the run's status."""

    def __init__(
        self,
        journal: Journal,
        claims: Claims,
        thread_id: str,
        *,
        allow_changed_graph: bool = False,
        ledgers: Sequence[Ledger] = (),
        budgets: str | None = None,
        description: Description | None = None,
        labels: Mapping[str, str] | None = None,
        restart: bool = False,
        lane: Lane | None = None,
        can_wait: bool = True,
        is_untouched: bool = False,
        is_read_after: bool = False,
        turn: str | None = None,
        migrate: Callable[[Graph], object] | None = None,
    ) -> None:
        self._journal = journal
        self._claims = claims
        self._thread = thread_id
        self.allow_changed_graph = allow_changed_graph
        self._ledgers = ledgers
        self._budgets = budgets
        self._description = description
        self._labels = labels or {}
        self._restart = restart
        self._lane = lane
        self._migrate = migrate  # makes the thread one of the graph's version, if it is of an earlier one
        self._can_wait = can_wait  # the checkpointer is the one that begins a late run
        self._is_untouched = is_untouched  # so the thread was taken to be when its run was prepared
        self._is_read_after = is_read_after  # what a run has left, as soon as it has ended by itself
        self._turn = turn  # of its job, for which a worker runs it
        self._root: UUID | None = None
        self._late: Callable[[bool], None] | None = None
        self._starting = False
        self._open: dict[UUID, tuple[dict[str, Any], float, str | None]] = {}
        self._ended: RunStatus = "done"
        self._is_over = False
        self._cut: set[UUID] = set()  # nodes that were stopped, and may go on in a thread

    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if metadata and tags and any(tag.startswith("graph:step:") for tag in tags):
            self._claims.check(self._thread)
            self._journal.enter(self._thread, metadata["langgraph_checkpoint_ns"])
            self._open[run_id] = (metadata, time.time(), self._journal.mask.json(state_json(inputs)))
        elif parent_run_id is None or self._root is None:
            if parent_run_id in self._cut:
                self._refuse()
            if is_state_type(type(inputs)):  # of a hand-written graph, which declares nothing
                allow(type(inputs))
            if self._late is not None or self._starting:
                raise ThreadBusy(f"The thread {self._thread!r} is about to run. Wait until it has ended.")
            start = partial(
                self._start,
                run_id=run_id,
                inputs=inputs,
                tags=tags or [],
                metadata=metadata or {},
                name=kwargs.get("name"),
            )
            under_way = self._root is not None  # then this one is refused at once, and the first goes on
            if not under_way and self._can_wait and _in_event_loop() and self._journal.has_to_wait():
                self._root, self._late = run_id, start
                sigterm.begin(self)  # it begins in another thread, where no handler may be set
            else:
                start(self._claims.acquire(self._thread, self._turn))

    @property
    def waits(self) -> bool:
        """Whether the run could not begin at once, and `start_late` is to be called."""
        return self._late is not None

    def check_under_way(self) -> None:
        """Raise ClaimLost for a node that goes on in a thread after its run was stopped."""
        if self._is_over:
            self._refuse()

    def _refuse(self) -> None:
        raise ClaimLost(
            f"The run of the thread {self._thread!r} has ended, while one of its nodes went on in a thread: "
            "nothing more is paid for or begun here. What was paid for is on record."
        )

    def start_late(self) -> None:
        """Begin the run, waiting for the database; the checkpointer calls it before any node runs."""
        late, self._late = self._late, None
        if late is not None:
            with self._late_start():
                late(self._claims.acquire(self._thread, self._turn))

    async def astart_late(self) -> None:
        """Like `start_late`, from an event loop: where nothing has to be read, it is not left."""
        late, self._late = self._late, None
        if late is not None:
            with self._late_start():
                if await self._claims.aacquire(self._thread, self._turn):
                    late(True)
                else:
                    await asyncio.to_thread(late, False)

    @contextmanager
    def _late_start(self) -> Iterator[None]:
        self._starting = True
        try:
            yield
        except BaseException:
            self._root = None
            sigterm.end(self)
            raise
        finally:
            self._starting = False
        if self._root is None:  # it was cancelled meanwhile
            self._end("failed", STOPPED)

    def _start(
        self,
        is_new: bool,
        *,
        run_id: UUID,
        inputs: Any,
        tags: list[str],
        metadata: dict[str, Any],
        name: str | None,
    ) -> None:
        """Begin the run of a thread that is claimed; of a `new` one nothing is on record yet."""
        if is_new:
            self._journal.new_threads.begin(self._thread)
        sigterm.begin(self)
        try:
            if self._is_untouched and not is_new:
                raise ThreadTouched(
                    f"The thread {self._thread!r} has just been run by somebody else. Run it again: it goes "
                    "on."
                )
            self._is_over = False
            fingerprint = self._fingerprint(metadata.get(GRAPH_KEY), is_new)
            if not self._starting:
                self._root = run_id
            self._ended = "done"
            for ledger in self._ledgers:
                if not ledger.is_shared:
                    spent, ran_s = self._spent(is_new)
                    ledger.begin(spent, ran_s)
            self._begin(inputs, tags, metadata, name)
            budgets, description = self._budgets, self._description
            self._journal.start_run(self._thread, fingerprint, budgets, description, lane=self._lane)
        except BaseException:  # no end of a run follows
            self._root = None
            self._let_go()
            raise

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        if run_id == self._root:
            self._end(self._ended, output=outputs, at_once=not self._is_read_after)
        elif run_id in self._open:
            self._claims.check(self._thread)
            self._leave(run_id, "done", output=outputs)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        cancelled = isinstance(error, (asyncio.CancelledError, KeyboardInterrupt, SystemExit))
        message = STOPPED if cancelled else f"{type(error).__name__}: {error}"
        if run_id == self._root and (self.waits or self._starting):
            self._root = self._late = None
            sigterm.end(self)
        elif run_id == self._root:
            self._end("failed", message)
        elif run_id not in self._open:
            return
        elif isinstance(error, GraphInterrupt):
            interrupts = error.args[0] if error.args else ()
            self._ended = "partial" if budget_end(interrupts) else "interrupted"
            self._leave(run_id, "interrupted", interrupts=[item.value for item in interrupts])
        elif isinstance(error, GraphBubbleUp):
            self._leave(run_id, "done")
        else:
            if cancelled:
                self._cut.add(run_id)
            self._leave(run_id, "failed", error=message)

    def _spent(self, is_new: bool) -> tuple[Cost, float]:
        if is_new:
            return Cost(), 0.0
        return self._journal.spent(self._thread), self._journal.ran_s(self._thread)

    def _fingerprint(self, mark: Any, is_new: bool) -> str | None:
        """Return the graph's shape, if it is known; refuse one that the thread cannot go on with."""
        if not isinstance(mark, GraphMark):
            return None
        if not self.allow_changed_graph and not is_new:
            if self._migrate is not None:
                self._migrate(mark.graph)
            check_unchanged(self._journal, self._thread, mark.fingerprint)
        return mark.fingerprint

    def _begin(self, inputs: Any, tags: list[str], metadata: dict[str, Any], name: str | None) -> None:
        """Note an invocation; one that goes on, or begins again what a crash cut short, keeps its trace."""
        going_on = inputs is None or isinstance(inputs, Command)
        answers = inputs.resume if isinstance(inputs, Command) else inputs
        self._journal.begin_invocation(
            self._thread,
            {
                "graph": name,
                "input": None if inputs is None else self._masked(answers),
                "input_digest": None if going_on else digest_of(self._thread, inputs),
                "user": metadata.get("user_id"),
                "tags": self._masked([tag for tag in tags if not tag.startswith(("graph:", "seq:"))]),
                "metadata": self._masked({n: v for n, v in metadata.items() if n not in OWN_METADATA}),
                "of_job": int(self._turn is not None),
                **self._labels,
            },
            going_on=going_on,
            restart=self._restart,
            allow_changed=self.allow_changed_graph,
            may_have_lost=not self._can_wait,
        )

    def _end(
        self, status: RunStatus, error: str | None = None, output: Any = None, *, at_once: bool = True
    ) -> None:
        self._root, self._is_over = None, True
        self._cut.update(self._open)
        self._open.clear()
        error = error and self._journal.mask.text(error)
        shown = None if output is None else self._masked(output)
        self._journal.end_run(self._thread, status, error, output=shown, of_run=True)
        self._let_go(at_once=at_once)

    def _let_go(self, *, at_once: bool = True) -> None:
        self._claims.release(self._thread, at_once=at_once)
        sigterm.end(self)

    def _leave(
        self,
        run_id: UUID,
        status: NodeStatus,
        *,
        output: Any = None,
        error: str | None = None,
        interrupts: Any = None,
    ) -> None:
        metadata, started, state = self._open.pop(run_id)
        task = metadata["langgraph_checkpoint_ns"]
        self._journal.add(
            NodeRun(
                thread_id=self._thread,
                task=task,
                path=path_of(task),
                node=metadata["langgraph_node"],
                superstep=metadata["langgraph_step"],
                status=status,
                output=None if output is None else self._masked(shown_output(output)),
                error=error and self._journal.mask.text(error),
                started_at=started,
                ended_at=time.time(),
                input=state,
                interrupts=None if interrupts is None else self._asked(interrupts),
            )
        )

    def _asked(self, interrupts: Any) -> str:
        """Return what people are asked, whole: it is what they decide on."""
        return self._journal.mask.json(as_json(interrupts, most=None))

    def _masked(self, value: Any) -> str:
        return self._journal.mask.json(as_json(value))


_CALLBACKS = [
    method.__code__ for method in (Recorder.on_chain_start, Recorder.on_chain_end, Recorder.on_chain_error)
]


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
