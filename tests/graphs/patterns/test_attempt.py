"""Attempts: what counts as a failure, what never does, what is kept of one, and where a thread goes on."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphInterrupt
from langgraph.types import Command
from pydantic import BaseModel

from stepgraph import (
    Ask,
    Budget,
    Choice,
    ScriptedModel,
    Session,
    Workflow,
    attempt,
    chain,
    effect,
    ensemble,
    gate,
    guard,
    refine,
    review,
    route,
    run,
    section,
    step,
    using,
    vote,
    within,
)
from stepgraph.errors import (
    BudgetExceeded,
    ClaimLost,
    DefinitionError,
    EffectUnknown,
    GraphChanged,
    ModelError,
    ModelFiltered,
    ModelNotFound,
    ModelRefused,
    ScriptError,
    StoreError,
    UnboundRole,
)
from stepgraph.tracing import fork

KEY = "sk-abcdefghijklmnopqrstuvwxyz012345"


@dataclass
class Letter:
    text: str = "hello"
    kind: Literal["a", "b"] = "a"
    reply: str = ""
    score: int = 0
    why: str = "old"
    log: Annotated[list[str], operator.add] = field(default_factory=list)


@step("reply")
def write(letter: Letter) -> Ask[str]:
    return Ask(f"Write {letter.text}")


@step("reply")
def standby(letter: Letter) -> Ask[str]:
    return Ask(f"Stand by. {letter.why}")


@step("score", tries=2)
def grade(letter: Letter) -> Ask[int]:
    return Ask(f"Grade {letter.reply}")


@step("kind")
def sort_out(letter: Letter) -> Ask[Literal["a", "b"]]:
    return Ask("Which?")


@review("reply")
def look(letter: Letter) -> str:
    return "Good?"


def note(letter: Letter) -> dict[str, list[str]]:
    return {"log": ["noted"]}


def known_by_none(letter: Letter) -> Choice[str]:
    return Choice(label=None)


def never(letter: Letter) -> str:
    return "not good."


async def slow(letter: Letter) -> dict[str, str]:
    await asyncio.sleep(60)
    return {}


def script(**answers: Any) -> ScriptedModel:
    """Answers by the step's name; the last answer of a step comes again and again."""

    def say(request: Any, context: Any) -> Any:
        said = answers.get(context.step, "fine")
        return (said.pop(0) if len(said) > 1 else said[0]) if isinstance(said, list) else said

    return ScriptedModel(say)


def mute(letter: Letter) -> dict[str, str]:
    raise ModelNotFound("no such model")


FAILING: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "InvalidAnswer": (lambda: grade, {"grade": "none"}),
    "ModelFiltered": (lambda: write, {"write": ModelFiltered("no")}),
    "ModelNotFound": (lambda: mute, {}),
    "GateFailed": (lambda: chain(write, gate(never)), {}),
    "GuardTripped": (lambda: guard(write, never), {}),
    "NoRoute": (lambda: route(known_by_none, {"a": write}), {}),
    "NoAnswer": (lambda: vote(mute, 2, field="reply", uncertain="?"), {}),
    "BranchTimeout": (lambda: section({"a": slow}, timeout_s=0.05), {}),
}


def begin(name: str, **options: Any) -> Workflow[Letter]:
    """Return an attempt that fails, between two parts, after it wrote a field of each kind."""
    part = chain(note, write, FAILING[name][0]())
    return chain(note, attempt(part, otherwise=standby, reason="why", **options), note)


def decisions(session: Session) -> list[tuple[str, str, str]]:
    rows = session.journal.query(
        "SELECT kind, choice, reason FROM decisions WHERE kind = 'attempt' ORDER BY id"
    )
    return [(row["kind"], row["choice"], row["reason"]) for row in rows]


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


def raises(error: BaseException) -> Callable[[Letter], dict[str, str]]:
    def part(letter: Letter) -> dict[str, str]:
        raise error

    return part


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


def test_a_resume_goes_on_with_the_other_part_and_a_fork_before_it_asks_again(session: Session) -> None:
    app = begin("ModelFiltered").compile()
    first = script(write=["draft", ModelFiltered("no")], standby=ModelRefused("no"))
    with using(first), pytest.raises(ModelRefused):
        app.invoke(Letter(), session.config("t"))
    with using(model := script(standby="instead")):
        assert app.invoke(None, session.config("t"))["reply"] == "instead"
        assert [step for step, _ in model.asks] == ["standby"]
        copy = fork(session, "t", 1, graph=app)
        assert app.invoke(None, session.config(copy))["reply"] == "fine"
    assert [step for step, _ in model.asks] == ["standby", "write", "write"]
    assert len(decisions(session)) == 1


def test_a_fork_of_the_failed_call_takes_an_answer_in_its_place(session: Session) -> None:
    app = chain(note, attempt(chain(note, grade), otherwise=standby)).compile()
    with using(script(grade="none", standby="instead")):
        app.invoke(Letter(), session.config("t"))
        new = fork(session, "t", call="grade", answer='{"answer": 4}', graph=app)
        result = app.invoke(None, session.config(new))
    assert (result["score"], result["reply"], result["log"]) == (4, "", ["noted", "noted"])


@pytest.mark.parametrize("inside", ["part", "otherwise"])
@pytest.mark.parametrize("bounded", [True, False])
def test_a_budgets_end_pauses_on_either_side(inside: str, bounded: bool, session: Session) -> None:
    two: Any = chain(note, write, standby)
    two = within(two, Budget(calls=1)) if bounded else two
    failing = raises(ValueError("x"))
    graph = attempt(two, otherwise={}) if inside == "part" else attempt(failing, otherwise=two, on=ValueError)
    app = graph.compile()
    with using(script(write="half", standby="whole")):
        result = run(app, Letter(), session, "t", budget=None if bounded else Budget(calls=1))
        assert (result.status, result.values["reply"], result.values["log"]) == ("partial", "half", ["noted"])
        assert result.missing
        if not bounded:
            result = run(app, None, session, "t", budget=Budget())
            assert (result.status, result.values["reply"], result.values["log"]) == (
                "done",
                "whole",
                ["noted"],
            )
    assert session.spent("t").calls == (1 if bounded else 2)


def test_a_review_waits_and_its_rejection_is_a_failure(session: Session) -> None:
    app = attempt(chain(write, look), otherwise=chain(standby, look), reason="why").compile()
    with using(script(write="first", standby="second")):
        waiting = run(app, Letter(), session, "t")
        assert (waiting.status, waiting.values["reply"]) == ("interrupted", "first")
        again = run(app, Command(resume={"decision": "reject", "reason": "too short"}), session, "t")
        assert (again.status, again.values["reply"], len(again.waiting)) == ("interrupted", "second", 1)
        done = run(app, Command(resume="approve"), session, "t")
    assert (done.status, done.values["reply"], done.spent.calls) == ("done", "second", 2)
    assert "too short" in done.values["why"]


def test_a_question_beside_what_fails_is_over(session: Session) -> None:
    graph = attempt(
        section({"a": chain(write, look), "b": chain(note, gate(never))}), otherwise={"reply": "none"}
    )
    with using(script()):
        result = run(graph.compile(), Letter(), session, "t")
    assert (result.status, result.values["reply"], result.waiting) == ("done", "none", ())


def test_an_effect_in_doubt_ends_the_run(session: Session) -> None:
    @effect(key=lambda letter: "one")
    def send(letter: Letter, key: str) -> dict[str, str]:
        raise OSError("cut off")

    app = attempt(send, otherwise={"reply": "sent elsewhere"}, on=(ValueError, ModelError)).compile()
    with pytest.raises(OSError, match="cut off"):
        app.invoke(Letter(), session.config("t"))
    with pytest.raises(EffectUnknown):
        app.invoke(None, session.config("t"))


def test_each_round_of_a_loop_tries_again(session: Session) -> None:
    produce = attempt(write, otherwise=standby, reason="why")
    graph = refine(produce, grade, until=lambda score: score > 4, rounds=2)
    with using(model := script(write=[ModelRefused("no"), "good"], standby="instead", grade=[1, 5])):
        result = graph.compile().invoke(Letter(), session.config("t"))
    assert (result["reply"], result["why"]) == ("good", "")
    assert [step for step, _ in model.asks] == ["write", "standby", "grade", "write", "grade"]


def test_a_thread_can_take_another_turn(session: Session) -> None:
    app = begin("ModelFiltered").compile()
    with using(script(write=["x", ModelFiltered("no"), "y", "z"], standby="instead")):
        assert app.invoke(Letter(), session.config("t"))["reply"] == "instead"
        result = app.invoke(Letter(), session.config("t"))
    assert (result["reply"], result["why"]) == ("z", "")


@pytest.mark.parametrize("saver", [None, InMemorySaver])
def test_without_a_session(saver: Any) -> None:
    app = begin("GateFailed").compile(checkpointer=saver and saver())
    config: RunnableConfig = {"configurable": {"thread_id": "t"}} if saver else {}
    with using(script(standby="instead")):
        result = app.invoke(Letter(), config)
    assert result["reply"] == "instead"


def test_parts_of_it_side_by_side(session: Session) -> None:
    """What a branch writes through a reducer counts once, whichever way its attempt went."""
    bad = attempt(chain(note, raises(ValueError("x"))), otherwise=note, on=ValueError)
    good = attempt(chain(note, note), otherwise={})
    result = section({"bad": bad, "good": good}).compile().invoke(Letter(log=["given"]), session.config())
    assert result["log"] == ["given", *["noted"] * 3]
    picked = ensemble([attempt(write, otherwise={"reply": "-"}), standby], score=len, field="reply")
    with using(script(write=ModelRefused("no"), standby="longer")):
        assert picked.compile().invoke(Letter())["reply"] == "longer"
