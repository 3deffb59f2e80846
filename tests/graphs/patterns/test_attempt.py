"""Attempts: what counts as a failure, what never does, what is kept of one, and where a thread goes on."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langgraph.errors import GraphInterrupt
from langgraph.types import Command
from pydantic import BaseModel

from stepgraph import (
    Ask,
    Session,
    attempt,
    chain,
    run,
    step,
    using,
)
from stepgraph.errors import (
    BudgetExceeded,
    ClaimLost,
    DefinitionError,
    EffectUnknown,
    GraphChanged,
    ModelError,
    ModelRefused,
    ScriptError,
    StoreError,
    UnboundRole,
)

from .attempt_cases import (
    FAILING,
    Letter,
    begin,
    decisions,
    grade,
    note,
    raises,
    script,
    slow,
    standby,
    write,
)

KEY = "sk-abcdefghijklmnopqrstuvwxyz012345"


@step("kind")
def sort_out(letter: Letter) -> Ask[Literal["a", "b"]]:
    return Ask("Which?")


@pytest.mark.parametrize("way", ["sync", "async", "stream", "astream"])
@pytest.mark.parametrize("name", FAILING)
async def test_what_fails_goes_elsewhere(name: str, way: str, session: Session) -> None:
    app, config = begin(name).compile(), session.config("t")
    with using(script(standby="instead", **FAILING[name][1])):
        if way == "sync":
            result = await asyncio.to_thread(app.invoke, Letter(), config)
        elif way == "async":
            result = await app.ainvoke(Letter(), config)
        elif way == "stream":
            result = (
                await asyncio.to_thread(lambda: list(app.stream(Letter(), config, stream_mode="values")))
            )[-1]
        else:
            result = [each async for each in app.astream(Letter(), config, stream_mode="values")][-1]
    assert result["reply"] == "instead"
    assert result["log"] == ["noted", "noted"], "of what failed, nothing is kept"
    assert result["why"].startswith(f"{name}: ")
    assert decisions(session) == [("attempt", "otherwise", result["why"])]


def test_what_it_paid_is_counted(session: Session) -> None:
    with using(script(grade="none")):
        result = run(attempt(chain(write, grade), otherwise={}).compile(), Letter(), session)
    assert (result.status, result.values["reply"], result.spent.calls) == ("done", "", 3)


def test_what_does_not_fail_is_kept_and_the_reason_is_emptied(session: Session) -> None:
    graph = attempt(chain(note, write, note), otherwise=standby, reason="why")
    with using(script(write="good")):
        result = graph.compile().invoke(Letter(log=["before"]), session.config("t"))
    assert result == {**vars(Letter()), "reply": "good", "why": "", "log": ["before", "noted", "noted"]}
    assert decisions(session) == []


class Plain(TypedDict, total=False):
    text: str
    reply: str
    log: Annotated[list[str], operator.add]


class Checked(BaseModel):
    text: str = ""
    reply: str = ""
    log: Annotated[list[str], operator.add] = []


class Told(TypedDict):
    why: Annotated[str, operator.add]


def tell(told: Told) -> dict[str, str]:
    return {}


def test_a_reason_needs_a_field_that_it_can_replace() -> None:
    with pytest.raises(DefinitionError, match=r"attempt\(reason='why'\): that field has a reducer"):
        attempt(tell, otherwise={}, reason="why")


@pytest.mark.parametrize("state", [Plain, Checked, Letter])
@pytest.mark.parametrize("fails", [True, False])
def test_on_every_kind_of_state(state: Any, fails: bool) -> None:
    def say(given: Any) -> Ask[str]:
        return Ask("Say")

    def keep(given: Any) -> dict[str, Any]:
        return {"log": ["kept"]}

    async def other(given: Any) -> dict[str, Any]:
        return {"reply": "other", "log": ["other"]}

    for function in (say, keep, other):
        function.__annotations__["given"] = state
    say = step("reply")(say)
    app = chain(keep, attempt(chain(keep, say), otherwise=other), keep).compile()
    with using(script(say=ModelRefused("no") if fails else "said")):
        result = app.invoke(state(text="t", log=["given"]))
    want = ("other", ["given", "kept", "other", "kept"]) if fails else ("said", ["given", *["kept"] * 3])
    assert (result["reply"], result["log"]) == want


def test_an_update_in_its_place() -> None:
    instead = {"reply": "Sorry.", "log": ["left out"]}
    app = chain(note, attempt(write, otherwise=instead, reason="why"), note).compile()
    for _ in range(2):
        with using(script(write=ModelRefused("no"))):
            result = app.invoke(Letter())
        result["log"].append("changed by the caller")
    assert (result["reply"], result["log"][:-1]) == ("Sorry.", ["noted", "left out", "noted"])
    assert result["why"] == "ModelRefused: Step 'write': no"


def test_errors_of_ones_own_are_named() -> None:
    broken = raises(ZeroDivisionError("by zero"))
    with pytest.raises(ZeroDivisionError):
        attempt(broken, otherwise={}).compile().invoke(Letter())
    for named in (ZeroDivisionError, ArithmeticError, (ModelError, ArithmeticError), [Exception]):
        app = attempt(broken, otherwise={"reply": "0"}, on=named, reason="why").compile()
        assert app.invoke(Letter())["why"] == "ZeroDivisionError: by zero"
    with pytest.raises(ZeroDivisionError):
        attempt(broken, otherwise={}, on=ModelError).compile().invoke(Letter())


NEVER: list[BaseException] = [
    BudgetExceeded("over", limit="calls", scope="the run", budget={}, spent={}),
    DefinitionError("wrong"),
    EffectUnknown("in doubt", key="k"),
    GraphChanged("other", changes=()),
    ScriptError("script"),
    StoreError("full"),
    UnboundRole("no model"),
    ClaimLost("lost"),
    GraphInterrupt(),
    KeyboardInterrupt(),
    SystemExit(1),
    asyncio.CancelledError(),
]


@pytest.mark.parametrize("error", NEVER, ids=lambda error: type(error).__name__)
async def test_what_is_never_caught_cannot_be_named_either(error: BaseException) -> None:
    with pytest.raises(DefinitionError, match="no failure of a part"):
        attempt(write, otherwise={}, on=type(error))
    if isinstance(error, Exception) and not isinstance(error, GraphInterrupt):
        with pytest.raises(type(error)):
            await (
                attempt(raises(error), otherwise={"reply": "caught"}, on=Exception)
                .compile()
                .ainvoke(Letter())
            )


@pytest.mark.parametrize("on", ["x", 3, int, (), (ModelError, int)])
def test_what_is_no_error_is_refused(on: Any) -> None:
    with pytest.raises(DefinitionError, match="attempt"):
        attempt(write, otherwise={}, on=on)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"otherwise": {"repply": ""}}, "reply"),
        ({"otherwise": {"reply": 3}}, "cannot be 3"),
        ({"otherwise": {"kind": "c"}}, "cannot be 'c'"),
        ({"otherwise": {}, "reason": "score"}, "score"),
        ({"otherwise": {}, "reason": "wy"}, "why"),
        ({"otherwise": {}, "timeout_s": 0}, "seconds"),
        ({"otherwise": "reply"}, "no part"),
    ],
)
def test_wrong_options_are_told_when_it_is_built(options: Any, problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        attempt(write, **options)


def test_a_part_that_goes_elsewhere_itself_is_told() -> None:
    def jump(letter: Letter) -> Command[Any]:
        return Command(goto="write")

    with pytest.raises(DefinitionError, match="expected a state update"):
        attempt(jump, otherwise={}).compile().invoke(Letter())


@pytest.mark.parametrize("sync", [True, False])
async def test_a_part_that_takes_too_long_is_stopped(sync: bool, session: Session) -> None:
    app = attempt(chain(slow), otherwise=standby, timeout_s=0.05, reason="why").compile()
    with using(script(standby="instead")):
        call = asyncio.to_thread(app.invoke, Letter(), session.config()) if sync else app.ainvoke(Letter())
        result = await call
    assert result["reply"] == "instead"
    assert result["why"] == "BranchTimeout: Part 'chain_slow' took longer than 0.05 s, so it was stopped."


@pytest.mark.parametrize("kept", [True, False])
def test_keys_do_not_get_into_the_state(kept: bool, session: Session) -> None:
    app = attempt(raises(ValueError(f"bad key {KEY}")), otherwise={}, on=ValueError, reason="why").compile()
    assert app.invoke(Letter(), session.config() if kept else {})["why"] == "ValueError: bad key [key]"
