"""A check: a verdict on the state and its reason, by which gates, cascades and verifications decide."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Generic, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.typing import StateT
from pydantic import Field
from typing_extensions import TypeVar

from ..state.errors import DefinitionError
from ..state.event_loops import outcome_of
from ..state.json_text import json_text
from ..state.schema import StateType, signature_types
from ..state.statuses import DecisionKind
from .ask import Choice
from .costs import FREE, Cost, cost_of
from .node import AnswerNode, Decider, Node, Update, record_decision

V = TypeVar("V")

Opinion: TypeAlias = bool | str
"""What a judgement of a value says: True to pass, False or the reason (text) not to."""

StateCheck: TypeAlias = Callable[[StateT], Opinion | Awaitable[Opinion | None] | None]
"""A function of the state, plain or async, that says whether it passes; None passes, too."""

PASSED, FAILED = "passed", "failed"


class CheckResult(Choice[str]):
    """The outcome of a check; `written` is the update that keeps the value it rests on.

    `note` is for the record alone.
    """

    written: dict[str, Any] = Field(default_factory=dict)
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.label == PASSED


@dataclass(eq=False, repr=False)
class Check(AnswerNode[StateT, CheckResult], Generic[StateT]):
    """Judges a state: passed or failed, why, and how sure. `kind` is what its decisions go on record as."""

    name: str
    judge: Callable[[StateT, RunnableConfig | None], Awaitable[CheckResult]]
    _: KW_ONLY
    state: StateType
    writes: str | None = None
    cost: Cost = FREE
    kind: DecisionKind = "gate"
    function: Any = None  # what the user gave

    async def answer(self, state: StateT, config: RunnableConfig | None = None) -> CheckResult:
        return await self.judge(state, config)

    def update(self, value: CheckResult) -> Update:
        return dict(value.written)

    def record(self, config: RunnableConfig | None, choice: str, result: CheckResult) -> None:
        """Put on the record what the result led to."""
        both = f"{result.reason} ({result.note})" if result.reason and result.note else ""
        reason = both or result.reason or result.note or None
        record_decision(config, self.kind, choice, confidence=result.confidence, reason=reason)


def check_of(
    check: Any, passes: Callable[[Any], Opinion] | None, where: str, kind: DecisionKind = "gate"
) -> Check[Any]:
    """Return what judges: a function of the state, or a step or rule whose value `passes` judges."""
    if passes is None:
        if not callable(check) or isinstance(check, Node):
            raise DefinitionError(
                f"{where}(step) needs `passes`, which judges the step's value: "
                f"{where}(judge, lambda grade: grade.ok)."
            )
        name = getattr(check, "__name__", where)
        return Check(name, _plain(check), state=signature_types(check)[0], kind=kind, function=check)
    if not isinstance(check, Decider):
        raise DefinitionError(f"{where}(check, passes) needs a step or a rule as its check.")
    refuse_async(passes, where)
    return Check(
        check.name,
        _judged(check, passes),
        state=check.state,
        writes=check.writes,
        cost=cost_of(check),
        kind=kind,
        function=check,
    )


def refuse_async(function: Any, where: str) -> None:
    """Raise DefinitionError for an async function."""
    if inspect.iscoroutinefunction(function):
        name = getattr(function, "__name__", "")
        raise DefinitionError(
            f"{where}: {name!r} is async; what judges a value is plain code. Make it the check itself, a "
            "function of the state, or fetch in a node before it."
        )


def _plain(check: Any) -> Any:
    async def judge(state: Any, _: RunnableConfig | None) -> CheckResult:
        opinion: Opinion | None = await outcome_of(check, state)
        passed = opinion is None or opinion is True or opinion == ""
        reason = opinion if isinstance(opinion, str) else False
        return result_of(passed or reason, "the check failed.")

    return judge


def _judged(check: Decider[Any, Any], passes: Callable[[Any], Opinion]) -> Any:
    async def judge(state: Any, config: RunnableConfig | None) -> CheckResult:
        value = await check.answer(state, config)
        return result_of(passes(value), f"{check.name} said {json_text(value)}.", value, check.update(value))

    return judge


def result_of(opinion: Opinion, why: str, value: Any = None, written: Update | None = None) -> CheckResult:
    """Return the result that an opinion stands for; `why` is the reason if it gives none.

    Empty text fails: in `grade.ok or grade.why` it comes from a model that gives no reason.
    """
    passed = bool(opinion) and not isinstance(opinion, str)
    confidence = getattr(value, "confidence", None)
    # bool is an int: a field `confidence: bool` would read as 0 or 1.
    if isinstance(confidence, bool) or not isinstance(confidence, (int, float)) or not 0 <= confidence <= 1:
        confidence = None
    if passed:
        reason = str(getattr(value, "reason", "") or "")
    else:
        reason = opinion if isinstance(opinion, str) and opinion else why
    label = PASSED if passed else FAILED
    return CheckResult(label=label, confidence=confidence, reason=reason, written=written or {})
