"""One trial on its thread: begun, resumed after a crash, or found finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from ...runners.result import BudgetEnd
from ...runners.run import aread_values, aresume
from ...state.budget import Budgets, Ledger, ThreadBudgets
from ...state.cost import Cost
from ...state.errors import (
    BudgetExceeded,
    GraphChanged,
    InputError,
    MigrationFailed,
    PromptChanged,
    SettingsError,
    StepgraphError,
    StoreError,
    ThreadBusy,
)
from ...state.keys_in_use import without_keys
from ...state.names import without_private
from ...state.schema import parse_input
from ...state.session.session import Session
from ...state.statuses import Lane
from ...state.tracebacks import told_of
from ...tracing.record.text import plain
from ..scoring.score import TrialOutcome
from ..suite.model import Case, Suite
from ..suite.targets import Target

SCOPE = "the suite"
WAITS = "Interrupted"  # what a case expects as its error if its run must wait for a person
# These say something about the whole suite, not about one trial of it.
ENDS_SUITE = (SettingsError, StoreError, ThreadBusy, GraphChanged, MigrationFailed, PromptChanged)


class TrialSettings(TypedDict, total=False):
    """What a trial's run gets beside its state; see `runners.run.RunOptions`."""

    cache_s: float | None
    lane: Lane | None
    extra: Mapping[str, Any]


async def run_trial(
    session: Session,
    target: Target,
    suite: Suite,
    case: Case,
    thread: str,
    ledgers: Sequence[Ledger],
    **settings: Unpack[TrialSettings],
) -> TrialOutcome | None:
    """Run a trial to its end, or from where it was to its end; None if the suite's budget ended first.

    Raises only what ends the whole suite.
    """
    try:
        state = parse_input(target.state, suite.input_of(case))
    except InputError as error:
        return TrialOutcome("failed", {}, str(error), type(error).__name__)
    try:
        result = await aresume(
            target.graph,
            session,
            thread,
            state=state,
            budget=suite.trial_budget,
            ledgers=ledgers,
            **settings,
        )
    except ENDS_SUITE:
        raise
    except BudgetExceeded as error:
        if _ends_all(error):
            return None
        return TrialOutcome("cut", {}, str(error), limit=error.limit)
    except Exception as error:
        message = without_keys(str(error)) if isinstance(error, StepgraphError) else told_of(error)
        values = _plain(await aread_values(target.graph, session, thread))
        return TrialOutcome("failed", values, message, type(error).__name__)
    ended = result.budget_end
    if ended is not None and _ends_all(ended):
        return None
    values = _plain(result.values)
    if ended is not None:
        return TrialOutcome("cut", values, ended.message, limit=ended.limit, missing=result.missing)
    if result.status == "interrupted":
        question = result.waiting[0].value if result.waiting else "a breakpoint"
        return TrialOutcome("waiting", values, f"waits for an answer to: {question}", WAITS)
    return TrialOutcome("done", values)


def _ends_all(ended: BudgetExceeded | BudgetEnd) -> bool:
    """Tell whether a budget's end is that of all trials, not of one."""
    return ended.scope == SCOPE or ended.is_shared


def ledgers_of(session: Session, budgets: Budgets | None, spent: Callable[[], Cost]) -> tuple[Ledger, ...]:
    """Return what counts the spending of many trials, given what they spent before."""
    all_budgets = ThreadBudgets.of(budgets)
    shared = tuple(session.shared_ledger(budget) for budget in all_budgets.shared)
    return shared if all_budgets.own is None else (*shared, Ledger(all_budgets.own, spent(), scope=SCOPE))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state as JSON would say it, without the patterns' own channels."""
    return without_private(plain(dict(values)))
