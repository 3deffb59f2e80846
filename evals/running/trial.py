"""One trial on its thread: begun, gone on with after a crash, or found finished."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from pydantic_core import to_jsonable_python

from ...state.budget import Ledger
from ...state.errors import (
    BudgetExceeded,
    GraphChanged,
    InputError,
    SettingsError,
    StepgraphError,
    StoreError,
    ThreadBusy,
)
from ...state.event_loops import in_thread
from ...state.names import without_private
from ...state.run_context import RunContext, for_reading, with_ledgers
from ...state.schema import parse_input
from ...state.session.pauses import budget_end
from ...state.session.session import Session
from ..scoring.score import TrialOutcome
from ..suite.model import Case, Suite, digest
from ..suite.targets import Target

SCOPE = "the suite"
WAITS = "Interrupted"  # what a case expects as its error if its run must wait for a person
# These say something about the whole suite, not about one trial of it.
FATAL = (SettingsError, StoreError, ThreadBusy, GraphChanged)


def thread_of(run: str, case: Case, repeat: int, shape: str = "") -> str:
    """Return a trial's thread: the same whenever the run goes on, another for another case or graph."""
    return f"eval/{run}/{case.id}/{repeat}-{digest([case.digest, shape])[:6]}"


async def run_trial(
    session: Session,
    target: Target,
    suite: Suite,
    case: Case,
    thread: str,
    ledger: Ledger | None,
    settings: Mapping[str, Any] | None = None,
) -> TrialOutcome | None:
    """Run a trial to its end, or from where it was to its end; None if the suite's budget ended first.

    `settings` are further options of `Session.config`. Raises only what ends the whole suite.
    """
    try:
        state = parse_input(target.state, suite.input_of(case))
    except InputError as error:
        return TrialOutcome("failed", {}, str(error), type(error).__name__)
    config = session.config(thread, budget=suite.trial_budget, graph=target.graph, **(settings or {}))
    if ledger is not None:
        config = with_ledgers(config, ledger, *RunContext.of(config).ledgers)
    try:
        return await _go_on(session, target, state, thread, config)
    except FATAL:
        raise
    except BudgetExceeded as ended:
        return None if ended.scope == SCOPE else TrialOutcome("cut", {}, str(ended), limit=ended.limit)
    except StepgraphError as error:
        return TrialOutcome("failed", await _values(target, config), str(error), type(error).__name__)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__} ({Path(frame.filename).name}, line {frame.lineno}): {error}"
        return TrialOutcome("failed", await _values(target, config), told, type(error).__name__)


async def _go_on(
    session: Session, target: Target, state: Any, thread: str, config: RunnableConfig
) -> TrialOutcome | None:
    given: Any = state
    if await in_thread(_is_known, session, thread):
        snapshot = await target.graph.aget_state(for_reading(config))
        if snapshot.created_at is not None:
            waits = [item for item in snapshot.interrupts if budget_end([item]) is None]
            if waits:
                return TrialOutcome(
                    "waiting", _plain(snapshot.values), f"waits for an answer to: {waits[0].value}", WAITS
                )
            if not snapshot.next:
                return TrialOutcome("done", _plain(snapshot.values))
            given = None
    values = dict(await target.graph.ainvoke(given, config))
    waiting = values.pop("__interrupt__", ())
    if not waiting:
        return TrialOutcome("done", _plain(values))
    ended = budget_end(waiting)
    if ended is None:
        return TrialOutcome("waiting", _plain(values), f"waits for an answer to: {waiting[0].value}", WAITS)
    if ended["scope"] == SCOPE:
        return None
    missing = (await target.graph.aget_state(for_reading(config))).next
    return TrialOutcome("cut", _plain(values), ended["message"], limit=ended["limit"], missing=tuple(missing))


def _is_known(session: Session, thread: str) -> bool:
    return bool(session.journal.query("SELECT 1 FROM runs WHERE thread_id = ?", (thread,)))


async def _values(target: Target, config: RunnableConfig) -> dict[str, Any]:
    snapshot = await target.graph.aget_state(for_reading(config))
    return _plain(snapshot.values)


def _plain(values: Any) -> dict[str, Any]:
    """Return a state as JSON would say it, without the patterns' own channels."""
    plain = to_jsonable_python(dict(values), fallback=repr, serialize_unknown=True, inf_nan_mode="strings")
    return without_private(plain)
