"""Runs that go through none of our graphs: a hand-written one, whose config nobody can put a session into.

LangChain asks its hooks for callback handlers whenever a run begins. So where the settings name a session,
each thread that LangGraph runs is recorded, claimed and budgeted there, whoever compiled its graph.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from langchain_core.tracers.context import register_configure_hook

from ..budget import Budgets, Ledger, ThreadBudgets, read_budgets
from ..errors import InputError, SettingsError
from ..names import BUDGET
from .budget_rules import scopes_of
from .default import default_database, default_sessions, session_table
from .foreign_calls import CallObserver
from .recorder import Recorder, RunObserver
from .session import Session, text_of_id

_GIVEN = f"configurable {BUDGET!r}"


@dataclass
class _Run:
    """A thread's run, and what hears of it."""

    session: Session
    thread: str
    root: UUID
    recorder: Recorder
    calls: CallObserver
    ledgers: tuple[Ledger, ...]
    scopes: list[str]
    has_own_budget: bool = False


@dataclass
class _Beside:
    """What counts the spending of a thread that is not recorded."""

    budgets: ThreadBudgets
    ledgers: tuple[Ledger, ...]


class AttachedRuns(RunObserver):
    """The callback handler of all runs in this process that have no recorder of their own."""

    ignore_llm = False
    ignore_chat_model = False

    def __init__(self) -> None:
        self._runs: dict[UUID, _Run] = {}  # by LangChain's runs: the root, its nodes, the calls in them
        self._by_thread: dict[str, _Run] = {}
        self._in_memory: WeakKeyDictionary[Session, dict[str, _Beside]] = WeakKeyDictionary()

    def ledgers(self, session: Session, thread_id: str, limits: Any = None) -> tuple[Ledger, ...]:
        """Return the budgets that a call on a thread counts against; `limits` is what its config has."""
        run = self._by_thread.get(thread_id)
        budget = None if limits is None else read_budgets(limits, _GIVEN)
        if run is None:
            return () if budget is None else self._beside(session, thread_id, budget)
        if budget is not None and not run.has_own_budget:
            run.has_own_budget = True
            run.ledgers, budget_json = _ledgers(run.session, thread_id, budget, run.scopes)
            if budget_json is not None:
                run.session.journal.start_run(thread_id, budget=budget_json)
        return run.ledgers

    def _beside(self, session: Session, thread_id: str, new_budgets: Budgets) -> tuple[Ledger, ...]:
        """Return the ledgers of a thread that is not recorded: its session lies beside an InMemorySaver."""
        known, budgets = self._in_memory.setdefault(session, {}), ThreadBudgets.of(new_budgets)
        if thread_id not in known or known[thread_id].budgets != budgets:
            known[thread_id] = _Beside(budgets, _checked(session.ledgers(thread_id, budgets)))
        return known[thread_id].ledgers

    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        values = metadata or {}
        run = None if parent_run_id is None else self._runs.get(parent_run_id)
        thread = values.get("thread_id")
        if thread is not None and (run is None or run.thread != str(thread)) and _is_root(values, kwargs):
            scopes = scopes_of(
                user=values.get("user_id"),
                graph=kwargs.get("name"),
                tags=kwargs.get("tags") or (),
                metadata=values,
            )
            run = self._begin(thread, run_id, scopes)
            parent_run_id = None
        if run is None:
            return
        self._runs[run_id] = run
        try:
            run.recorder.on_chain_start(
                serialized, inputs, run_id=run_id, parent_run_id=parent_run_id, metadata=metadata, **kwargs
            )
        except BaseException:
            self._forget(run_id)
            raise
        if run_id == run.root:
            self._by_thread[run.thread] = run

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        run = self._forget(run_id)
        if run is not None:
            run.recorder.on_chain_end(outputs, run_id=run_id, **kwargs)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        run = self._forget(run_id)
        if run is not None:
            run.recorder.on_chain_error(error, run_id=run_id, **kwargs)

    def on_chat_model_start(
        self, *args: Any, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        run = None if parent_run_id is None else self._runs.get(parent_run_id)
        if run is not None:
            self._runs[run_id] = run
            run.calls.on_chat_model_start(*args, run_id=run_id, **kwargs)

    def on_llm_start(
        self, *args: Any, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        run = None if parent_run_id is None else self._runs.get(parent_run_id)
        if run is not None:
            self._runs[run_id] = run
            run.calls.on_llm_start(*args, run_id=run_id, **kwargs)

    def on_llm_new_token(self, token: str | list[Any], *, run_id: UUID, **kwargs: Any) -> None:
        if run_id in self._runs:
            self._runs[run_id].calls.on_llm_new_token(token, run_id=run_id)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        run = self._runs.pop(run_id, None)
        if run is not None:
            run.calls.on_llm_end(response, run_id=run_id)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        run = self._runs.pop(run_id, None)
        if run is not None:
            run.calls.on_llm_error(error, run_id=run_id)

    def _begin(self, thread_id: object, root: UUID, scopes: list[str]) -> _Run:
        session = default_sessions.find(None)
        if session is None:
            raise SettingsError("The session that the settings named is gone; they were changed meanwhile.")
        thread = text_of_id(thread_id)
        budget = None if session.budget_of(thread) is not None else session_table().budget
        ledgers, budget_json = _ledgers(session, thread, budget, scopes)
        recorder = Recorder(
            session.journal,
            session.claims,
            thread,
            labels=session.labels,
            ledgers=ledgers,
            budgets=budget_json,
            can_wait=False,
        )
        return _Run(session, thread, root, recorder, CallObserver(session.journal, thread), ledgers, scopes)

    def _forget(self, run_id: UUID) -> _Run | None:
        run = self._runs.pop(run_id, None)
        if run is not None and run_id == run.root and self._by_thread.get(run.thread) is run:
            del self._by_thread[run.thread]
        return run


def _is_root(metadata: dict[str, Any], kwargs: dict[str, Any]) -> bool:
    """Tell whether a run of LangChain is that of a whole LangGraph graph, not of a node in one."""
    is_node = any(tag.startswith("graph:step:") for tag in kwargs.get("tags") or ())
    return "ls_integration" in metadata and not is_node


def _ledgers(
    session: Session, thread: str, new_budgets: Budgets | None, scopes: list[str]
) -> tuple[tuple[Ledger, ...], str | None]:
    """Return what counts a thread's spending, and what of its budgets is new on record."""
    budgets, budget_json = session.budgets_for(thread, new_budgets, scopes)
    return _checked(session.ledgers(thread, budgets)), budget_json


def _checked(ledgers: tuple[Ledger, ...]) -> tuple[Ledger, ...]:
    if any(ledger.budget.supersteps is not None for ledger in ledgers):
        raise InputError(
            "A budget of supersteps cannot be kept for a graph that LangGraph itself compiled. Give it as "
            'LangGraph\'s own limit: graph.invoke(…, {"recursion_limit": …}); or run the graph with '
            "session.config(thread_id, budget=…)."
        )
    return ledgers


class _Hook:
    """What LangChain asks for the handler of a run that begins."""

    def get(self) -> AttachedRuns | None:
        with suppress(SettingsError):  # told where a step looks for its session
            if default_database() is not None:
                return attached_runs
        return None


attached_runs = AttachedRuns()
hook: Any = _Hook()
register_configure_hook(hook, inheritable=True, handle_class=RunObserver)
