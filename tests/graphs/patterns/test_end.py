"""An end: the run is done there, well, with what it has, wherever it stands."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

from stepgraph import (
    Ask,
    Budget,
    Choice,
    ScriptedModel,
    Session,
    attempt,
    chain,
    end,
    ensemble,
    estimate,
    fan_out,
    gate,
    guard,
    orchestrate,
    refine,
    resume,
    review,
    route,
    rule,
    run,
    section,
    step,
    using,
    verify,
    vote,
    within,
)
from stepgraph.errors import DefinitionError
from stepgraph.tracing import fork


@dataclass
class Mail:
    text: str = "hello"
    ours: bool = False
    kind: Literal["ham", "spam"] = "spam"
    score: int = 0
    log: Annotated[list[str], operator.add] = field(default_factory=list)
    parts: list[Mail] = field(default_factory=list)


def first(mail: Mail) -> dict[str, list[str]]:
    return {"log": ["first"]}


def last(mail: Mail) -> dict[str, list[str]]:
    return {"log": ["last"]}


def is_ours(mail: Mail) -> bool | str:
    return mail.ours or "not ours."


def fails(mail: Mail) -> dict[str, str]:
    raise ValueError("broken")


@step("score", model="judge")
def grade(mail: Mail) -> Ask[int]:
    return Ask("Grade")


@step("text")
def write(mail: Mail) -> Ask[str]:
    return Ask(f"Write {mail.text}")


@rule("parts")
def cut(mail: Mail) -> list[Mail]:
    return [Mail("a", ours=mail.ours), Mail("b", ours=True)]


@rule("kind")
def sort_out(mail: Mail) -> Literal["ham", "spam"]:
    return "ham" if mail.ours else "spam"


@review("text")
def look(mail: Mail) -> str:
    return "Good?"


stop = gate(is_ours, otherwise=end())

# Each ends where the mail is not ours, after `first`; `last` stands behind it.
ENDING: dict[str, tuple[Callable[[], Any], str]] = {
    "gate": (lambda: stop, "not ours."),
    "gate of a rule": (
        lambda: gate(sort_out, lambda kind: kind == "ham", otherwise=end()),
        'sort_out said "spam".',
    ),
    "gate that repairs": (lambda: gate(is_ours, repair=cut, otherwise=end("given up")), "given up"),
    "repair that ends": (lambda: gate(is_ours, repair=chain(cut, stop), tries=3), "not ours."),
    "guard": (lambda: guard(cut, is_ours, otherwise=end()), "not ours."),
    "main of a guard": (lambda: guard(chain(cut, stop), lambda_of(True)), "not ours."),
    "route": (lambda: route(sort_out, {"spam": end(), "ham": cut}), "sort_out: spam"),
    "fallback": (
        lambda: route(by_doubt, {"ham": cut}, fallback=end(), min_confidence=0.5),
        "ham only 0.10 sure, below 0.50 (who knows)",
    ),
    "attempt": (lambda: attempt(fails, otherwise=end(), on=ValueError), "ValueError: broken"),
    "part of an attempt": (lambda: attempt(chain(cut, stop), otherwise=last), "not ours."),
    "within": (lambda: within(chain(cut, stop, last), Budget(calls=9)), "not ours."),
    "loop": (lambda: refine(chain(cut, stop), one, until=bool, rounds=3), "not ours."),
    "merge of a section": (lambda: section({"a": cut}, merge=stop), "not ours."),
    "synthesis": (lambda: orchestrate(cut, cut, stop, into="parts", more=cut), "not ours."),
    "end of a chain": (lambda: chain(cut, end(lambda mail: f"{mail.text} is enough")), "hello is enough"),
    "deep": (
        lambda: chain(
            chain(
                route(sort_out, {"spam": chain(cut, attempt(chain(stop, last), otherwise={})), "ham": cut}),
                last,
            ),
            last,
            name="deep",
        ),
        "not ours.",
    ),
}


def by_doubt(mail: Mail) -> Choice[str]:
    return Choice(label="ham", confidence=0.1, reason="who knows")


def one(mail: Mail) -> int:
    return 0


def lambda_of(value: bool) -> Any:
    def passes(mail: Mail) -> bool:
        return value

    return passes


@pytest.mark.parametrize("way", ["sync", "async", "stream"])
@pytest.mark.parametrize("name", ENDING)
async def test_nothing_behind_it_runs(name: str, way: str, session: Session) -> None:
    build, reason = ENDING[name]
    app = chain(first, build(), last).compile()
    if way == "sync":
        result = await asyncio.to_thread(run, app, Mail(), session, "t")
        assert (result.status, result.ended_early) == ("done", reason)
        assert resume(app, session, "t").ended_early == reason
        values = result.values
    elif way == "async":
        values = await app.ainvoke(Mail(), session.config("t"))
    else:
        values = [each async for each in app.astream(Mail(), session.config("t"), stream_mode="values")][-1]
    assert values["log"] == ["first"]
    if way != "stream":  # LangGraph's streams show private channels, too
        assert set(values) == set(vars(Mail()))
    rows = session.journal.query("SELECT kind, choice, reason FROM decisions WHERE kind = 'end'")
    assert [(row["choice"], row["reason"]) for row in rows] == [("ended", reason)]
    again = (
        app.invoke(Mail(ours=True), session.config("u"))
        if name not in ("attempt", "end of a chain", "fallback")
        else None
    )
    assert again is None or again["log"][-1] == "last"


BESIDE: dict[str, Any] = {
    "section": lambda: section({"a": chain(cut, stop, last), "b": first}),
    "vote": lambda: vote(chain(write, stop, last), 2, field="text", uncertain="?"),
    "ensemble": lambda: ensemble([chain(write, stop, last)], field="text", score=len),
    "fan_out": lambda: fan_out(cut, chain(first, stop, last), into="parts"),
    "compiled": lambda: chain(cut, stop, last).compile(),
    "a function that calls a graph": lambda: calls,
}


def calls(mail: Mail) -> dict[str, str]:
    return {"text": chain(cut, stop, last).compile().invoke(mail)["text"]}


@pytest.mark.parametrize("name", BESIDE)
def test_beside_others_it_ends_alone(name: str, session: Session) -> None:
    with using(ScriptedModel(lambda request, context: "said")):
        result = run(chain(BESIDE[name](), last).compile(), Mail(), session)
    assert result.values["log"][-1] == "last"
    assert result.values["log"].count("last") == 1
    assert result.ended_early is None
    if name == "fan_out":
        assert [part.log for part in result.values["parts"]] == [["first"], ["first", "last"]]


class Plain(TypedDict, total=False):
    text: str
    log: Annotated[list[str], operator.add]


class Checked(BaseModel):
    text: str = ""
    log: Annotated[list[str], operator.add] = []


@dataclass(frozen=True)
class Frozen:
    text: str = ""
    log: Annotated[list[str], operator.add] = field(default_factory=list)


@pytest.mark.parametrize("state", [Plain, Checked, Frozen])
def test_on_every_kind_of_state(state: Any) -> None:
    def note(given: Any) -> dict[str, Any]:
        return {"log": ["noted"]}

    def never(given: Any) -> bool:
        return False

    def why(given: Any) -> str:
        return f"{type(given).__name__} has enough"

    for function in (note, never):
        function.__annotations__["given"] = state
    app = chain(note, chain(note, gate(never, otherwise=end(why)), note), note, name="outer").compile()
    result = app.invoke(state(text="t", log=["given"]))
    assert result == {"text": "t", "log": ["given", "noted", "noted"]}


def test_the_next_turn_begins_afresh(session: Session) -> None:
    app = chain(first, chain(stop, name="inner"), last).compile()
    assert run(app, Mail(), session, "t").ended_early == "not ours."
    result = run(app, Mail(ours=True), session, "t")
    assert (result.values["log"], result.ended_early) == (["first", "first", "last"], None)


def test_each_turn_of_a_loop_is_asked_anew(session: Session) -> None:
    def grow(mail: Mail) -> dict[str, Any]:
        return {"text": f"{mail.text}!"}

    def short(mail: Mail) -> bool | str:
        return len(mail.text) < 8 or "long enough."

    produce = chain(grow, gate(short, otherwise=end()))
    result = run(chain(refine(produce, one, until=bool, rounds=9), last).compile(), Mail(), session)
    assert (result.values["text"], result.ended_early, result.values["log"]) == (
        "hello!!!",
        "long enough.",
        [],
    )


def test_a_review_before_it_waits_and_a_fork_goes_the_other_way(session: Session) -> None:
    app = chain(first, route(look, {"approved": write, "rejected": end()}), last).compile()
    with using(ScriptedModel(lambda request, context: "said")):
        assert run(app, Mail(), session, "t").status == "interrupted"
        no = {"decision": "reject", "reason": "bad"}
        result = resume(app, session, "t", answer=no)
        assert (result.status, result.ended_early, result.values["log"]) == ("done", "bad", ["first"])
        new = fork(session, "t", 1, graph=app)
        assert run(app, None, session, new).status == "interrupted"
        result = resume(app, session, new, answer="approve")
    assert (result.ended_early, result.values["log"]) == (None, ["first", "last"])


def test_it_is_seen_before_it_runs() -> None:
    ending = chain(write, stop, write.on("large"))
    assert (estimate(ending).least_calls, estimate(ending).most_calls) == (1, 2)
    checked = verify(write, grade, agrees=bool, otherwise=end())
    assert (estimate(checked).least_calls, estimate(checked).most_calls) == (2, 2)


def test_a_graph_by_hand_takes_no_notice(session: Session) -> None:
    graph: Any = StateGraph(Mail)
    graph.add_node("inner", chain(first, stop, first).compile())
    graph.add_node("last", last)
    graph.add_edge(START, "inner")
    graph.add_edge("inner", "last")
    graph.add_edge("last", END)
    assert run(graph.compile(), Mail(), session).values["log"][-1] == "last"


async def afterwards(mail: Mail) -> str:
    return "no"


@pytest.mark.parametrize(
    "wrong",
    [lambda: chain(first, end(), last), lambda: end(3), lambda: end(afterwards), lambda: chain(end())],
)
def test_what_cannot_be_is_refused(wrong: Any) -> None:
    with pytest.raises(DefinitionError):
        wrong()
