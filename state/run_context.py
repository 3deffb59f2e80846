"""What a LangGraph config says of the run that a node or a model call belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite import SqliteSaver

from .budget import Ledger
from .event_loops import in_thread
from .halts import Halt
from .names import (
    BUDGET,
    CACHE_KEY,
    CHECKED_KEY,
    DRAW_KEY,
    HALT_KEY,
    LANE_KEY,
    LEDGERS_KEY,
    MODELS_KEY,
    RECORDED_KEY,
    RESTART_KEY,
    SESSION_KEY,
    STARTER_KEY,
    path_of,
)
from .session.attached import attached_runs
from .session.default import default_sessions, not_kept, warn_not_kept
from .session.internals import CONFIG_KEY_CHECKPOINT_MAP, CONFIG_KEY_CHECKPOINTER, attempt_of, execution_of
from .statuses import Lane

if TYPE_CHECKING:
    from .session.recorder import Recorder
    from .session.session import Session


@dataclass(frozen=True, slots=True)
class RunContext:
    """One node execution of one run; outside of any run, everything is empty."""

    _values: Mapping[str, Any]

    @classmethod
    def of(cls, config: RunnableConfig | None) -> RunContext:
        """Return what a config says."""
        return cls((config.get("configurable") or {}) if config else {})

    @property
    def session(self) -> Session | None:
        """The session that the run was given, else the default one, if there is any, of a thread's nodes."""
        values = self._values
        session: Session | None = values.get(SESSION_KEY)
        if session is None and "thread_id" in values and self.task and self.thread_id:
            default = default_sessions.find(self.checkpointer)
            if default is None and isinstance(self.checkpointer, BaseCheckpointSaver):
                warn_not_kept(self.checkpointer)
            return default
        return session

    def check_kept(self, promise: str) -> None:
        """Raise InputError where a thread is kept without a session, so that a promise cannot hold."""
        if self.session is None and self.thread_id and self.checkpointer:
            raise not_kept(promise, self.checkpointer)

    async def check_claim(self) -> None:
        """Raise ClaimLost if this run has ended or was taken over; call it before you pay."""
        if self.session is not None:
            self._check_under_way()
            await self.session.claims.acheck(self.thread_id)

    def check_claim_at_once(self) -> None:
        """Like `check_claim`, from a thread that may wait for the database."""
        if self.session is not None:
            self._check_under_way()
            self.session.claims.check(self.thread_id)

    def _check_under_way(self) -> None:
        recorder: Recorder | None = self._values.get(STARTER_KEY)
        if recorder is not None and self.task:
            recorder.check_under_way()

    def check_halt(self) -> None:
        """Raise BudgetExceeded if no more calls are to be begun here; call it before you pay."""
        halt: Halt | None = self._values.get(HALT_KEY)
        if halt is not None:
            halt.check()

    @property
    def thread_id(self) -> str:
        return str(self._values.get("thread_id", ""))

    @property
    def task(self) -> str:
        """LangGraph's checkpoint namespace: it names a node execution and survives a resume."""
        return str(self._values.get("checkpoint_ns", ""))

    @property
    def path(self) -> str:
        """The names of the nested nodes, joined by "/"."""
        return path_of(self.task)

    @property
    def checkpoint_id(self) -> str:
        return str(self._values.get("checkpoint_id", ""))

    @property
    def restarts(self) -> bool:
        """Whether the run is to begin anew on a thread that has not ended."""
        return bool(self._values.get(RESTART_KEY))

    @property
    def checkpointer(self) -> Any:
        return self._values.get(CONFIG_KEY_CHECKPOINTER)

    @property
    def ledgers(self) -> tuple[Ledger, ...]:
        """The budgets that a call here counts against, the outermost first."""
        ledgers: tuple[Ledger, ...] | None = self._values.get(LEDGERS_KEY)
        if ledgers is None and SESSION_KEY not in self._values:
            return self._attached_ledgers()
        return ledgers or ()

    def _attached_ledgers(self) -> tuple[Ledger, ...]:
        budget, session = self._values.get(BUDGET), self.session
        if session is not None:
            return attached_runs.ledgers(session, self.thread_id, budget)
        if budget is not None:
            self.check_kept("The thread has a budget")
        return ()

    @property
    def has_checked_input(self) -> bool:
        """Whether the run's input was compared already with what its thread waits for, and has."""
        return CHECKED_KEY in self._values

    @property
    def cache_s(self) -> float | None:
        """How old a cached answer may be, in seconds; None where the cache is off."""
        return self._values.get(CACHE_KEY)

    @property
    def lane(self) -> Lane:
        """How the calls of the run are made: live, or through the providers' batch APIs."""
        lane: Lane = self._values.get(LANE_KEY) or "live"
        return lane

    @property
    def models(self) -> Mapping[str, Any]:
        """The models that the graphs around a call were compiled with, by their roles."""
        return self._values.get(MODELS_KEY) or {}

    @property
    def recorded(self) -> Any:
        """What a replay is told in the place of models and the world; see tracing/forks/recorded.py."""
        return self._values.get(RECORDED_KEY)

    @property
    def draw(self) -> tuple[int, ...]:
        """Which sample each of the votes around a call draws."""
        return tuple(self._values.get(DRAW_KEY, ()))

    @property
    def execution(self) -> Any:
        """An object that is the same throughout one execution of a node, and new for the next."""
        return execution_of(self._values)

    @property
    def attempt(self) -> int:
        """How often LangGraph's RetryPolicy has begun this node execution: 1 for the first time."""
        return attempt_of(self._values)

    async def written_by(self, graph: str) -> set[str]:
        """Return the ids of the tasks that wrote to the checkpoints of a graph of this thread."""
        saver, place = self.checkpointer, checkpoint_at(self.thread_id, graph)
        if not isinstance(saver, BaseCheckpointSaver):
            return set()
        if type(saver).alist in (BaseCheckpointSaver.alist, SqliteSaver.alist):  # which only raise
            checkpoints = await in_thread(lambda: list(saver.list(place)))
        else:
            checkpoints = [checkpoint async for checkpoint in saver.alist(place)]
        return {task for checkpoint in checkpoints for task, *_ in checkpoint.pending_writes or ()}

    def outer_checkpoint(self) -> RunnableConfig:
        """Return the place of the checkpoint from which the graph around this one runs."""
        outer = self.task.rpartition("|")[0]
        ids = self._values.get(CONFIG_KEY_CHECKPOINT_MAP, {})
        return checkpoint_at(self.thread_id, outer, ids.get(outer))


def with_ledgers(config: RunnableConfig, *ledgers: Ledger) -> RunnableConfig:
    """Return the config with these budgets in the place of its own."""
    return _with(config, {LEDGERS_KEY: ledgers})


def with_checked_input(config: RunnableConfig) -> RunnableConfig:
    """Return the config of a run whose input was compared with what its thread waits for, and has."""
    return _with(config, {CHECKED_KEY: True})


def with_models(config: RunnableConfig, models: Mapping[str, Any]) -> RunnableConfig:
    """Return the config under which these models stand behind their roles."""
    return _with(config, {MODELS_KEY: models})


def with_draw(config: RunnableConfig, number: int) -> RunnableConfig:
    """Return the config under which every call is draw `number`, within the draw it is part of already."""
    return _with(config, {DRAW_KEY: (*RunContext.of(config).draw, number)})


def _with(config: RunnableConfig, values: Mapping[str, Any]) -> RunnableConfig:
    changed = {**config, "configurable": {**config.get("configurable", {}), **values}}
    return cast("RunnableConfig", changed)


def fields_in(config: RunnableConfig) -> Mapping[str, Any]:
    """Return what a config says of LangChain's configurable fields."""
    return config.get("configurable") or {}


def without_fields(config: RunnableConfig) -> RunnableConfig:
    """Return a config without what it says of configurable fields, or of a run."""
    return cast("RunnableConfig", {name: value for name, value in config.items() if name != "configurable"})


def for_reading(config: RunnableConfig) -> RunnableConfig:
    """Return the config without its callbacks: a state is read with it, and nothing goes on record."""
    return {"configurable": config.get("configurable", {})}


def checkpoint_at(thread_id: str, ns: str | None = "", checkpoint_id: str | None = None) -> RunnableConfig:
    """Return the place of a checkpoint, as LangGraph's savers want it.

    Without an id it is the latest of a namespace; `ns` None means those of all namespaces.
    """
    place = {"thread_id": thread_id, "checkpoint_ns": ns, "checkpoint_id": checkpoint_id}
    return {"configurable": {name: value for name, value in place.items() if value is not None}}
