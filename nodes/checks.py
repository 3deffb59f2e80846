"""A check: a verdict on the state and its reason, by which gates, cascades and verifications decide."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.typing import StateT
from pydantic import Field
from typing_extensions import TypeVar

from ..state.errors import DefinitionError
from ..state.event_loops import in_thread
from ..state.json_text import json_text
from ..state.schema import StateType, signature_types
from .ask import Choice
from .costs import FREE, Cost, cost_of
from .node import Decider, Node, record_decision

V = TypeVar("V")

Opinion: TypeAlias = bool | str
"""What a judgement of a value says: True to pass, False or the reason (text) not to."""

PASSED, FAILED = "passed", "failed"


class CheckResult(Choice[str]):
    """The outcome of a check; `written` is the update that keeps the value it was found by.

    `note` is for the record alone.
    """

    written: dict[str, Any] = Field(default_factory=dict)
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.label == PASSED


class Check(Node[StateT], Generic[StateT]):
    """Judges a state: passed or failed, why, and how sure. `kind` is what its decisions go on record as."""

    def __init__(
        self,
        name: str,
        judge: Callable[[StateT, RunnableConfig | None], Awaitable[CheckResult]],
        *,
        state: StateType,
        writes: str | None = None,
        cost: Cost = FREE,
        kind: str = "gate",
    ) -> None:
        self.name = name
        self.state = state
        self.writes = writes
        self.cost = cost
        self._judge = judge
        self._kind = kind

    async def answer(self, state: StateT, config: RunnableConfig | None = None) -> CheckResult:
        return await self._judge(state, config)

    def update(self, value: CheckResult) -> dict[str, Any]:
        return dict(value.written)

    async def ainvoke(
        self, input: StateT, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        return self.update(await self.answer(input, config))

    def record(self, config: RunnableConfig | None, choice: str, finding: CheckResult) -> None:
        """Put what became of a finding on the record."""
        reason = f"{finding.reason} ({finding.note})" if finding.reason and finding.note else ""
        told = reason or finding.reason or finding.note or None
        record_decision(config, self._kind, choice, confidence=finding.confidence, reason=told)


def check_of(
    check: Any, passes: Callable[[Any], Opinion] | None, where: str, kind: str = "gate"
) -> Check[Any]:
    """Return what judges: a function of the state, or a step or rule whose value `passes` judges."""
    if passes is None:
        if not callable(check) or isinstance(check, Node):
            raise DefinitionError(
                f"{where}(step) needs `passes`, which judges the step's value: "
                f"{where}(judge, lambda grade: grade.ok)."
            )
        refuse_async(check, where)
        name = getattr(check, "__name__", where)
        return Check(name, _plain(check), state=signature_types(check)[0], kind=kind)
    if not hasattr(check, "answer"):
        raise DefinitionError(f"{where}(check, passes) needs a step or a rule as its check.")
    refuse_async(passes, where)
    return Check(
        check.name,
        _valued(check, passes),
        state=check.state,
        writes=check.writes,
        cost=cost_of(check),
        kind=kind,
    )


def refuse_async(function: Any, where: str) -> None:
    """Raise DefinitionError for an async function."""
    if inspect.iscoroutinefunction(function):
        name = getattr(function, "__name__", "")
        raise DefinitionError(
            f"{where}: {name!r} is async; a check is plain code. Fetch in a node before it."
        )


def _plain(check: Any) -> Any:
    async def judge(state: Any, _: RunnableConfig | None) -> CheckResult:
        opinion: Opinion | None = await in_thread(check, state)
        passed = opinion is None or opinion is True or opinion == ""
        reason = opinion if isinstance(opinion, str) else False
        return found(passed or reason, "the check failed.")

    return judge


def _valued(check: Decider[Any, Any], passes: Callable[[Any], Opinion]) -> Any:
    async def judge(state: Any, config: RunnableConfig | None) -> CheckResult:
        value = await check.answer(state, config)
        return found(passes(value), f"{check.name} said {json_text(value)}.", value, check.update(value))

    return judge


def found(
    opinion: Opinion, why: str, value: Any = None, written: dict[str, Any] | None = None
) -> CheckResult:
    """Return the finding that an opinion stands for; `why` is the reason if it gives none.

    Empty text fails: in `grade.ok or grade.why` it comes of a model that gives no reason.
    """
    passed = bool(opinion) and not isinstance(opinion, str)
    told = opinion if isinstance(opinion, str) and opinion else why
    sure = getattr(value, "confidence", None)
    if isinstance(sure, bool) or not isinstance(sure, (int, float)) or not 0 <= sure <= 1:
        sure = None
    reason = str(getattr(value, "reason", "") or "") if passed else told
    return CheckResult(
        label=PASSED if passed else FAILED, confidence=sure, reason=reason, written=written or {}
    )
