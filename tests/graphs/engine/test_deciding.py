"""Whatever answers a question stands where one is asked: patterns and compiled graphs as deciders."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph

from stepgraph import (
    Ask,
    Budget,
    ScriptedModel,
    Session,
    Workflow,
    answering,
    attempt,
    cascade,
    chain,
    end,
    ensemble,
    estimate,
    fan_out,
    gate,
    guard,
    map_reduce,
    refine,
    route,
    section,
    step,
    using,
    verify,
    vote,
    within,
)
from stepgraph.errors import DefinitionError, GateFailed, GuardTripped, ModelRefused, NoAnswer
from stepgraph.graphs.engine.deciding import answer_of

from .deciding_cases import Text, join, judge, keep, mark


@step("text")
def write(text: Text) -> Ask[str]:
    return Ask(f"Write {text.mood}")


@step("best")
def choose(text: Text) -> Ask[int]:
    return Ask(f"Which of {text.drafts}?")


def tag(text: Text) -> dict[str, int]:
    return {"best": 1}


def by_hand() -> Any:
    graph: Any = StateGraph(Text)
    graph.add_node("judge", judge)
    graph.add_edge(START, "judge")
    graph.add_edge("judge", END)
    return graph.compile()


def glad(text: Text) -> bool:
    return True


# Each asks what the mood is, at most as often as it says, and writes it.
DECIDERS: dict[str, tuple[Callable[[], Any], int]] = {
    "chain": (lambda: chain(mark, judge), 1),
    "vote": (lambda: vote(chain(mark, judge, name="voter"), 3, uncertain="?"), 3),
    "ensemble": (lambda: ensemble([judge, judge.on("other")], score=lambda mood: mood == "good"), 2),
    "cascade": (lambda: cascade(judge, judge.on("other"), accept=lambda mood: mood != "?"), 1),
    "verify": (lambda: verify(judge, choose, agrees=lambda best: best == 0), 2),
    "attempt": (lambda: attempt(judge, otherwise={"mood": "?"}), 1),
    "route": (lambda: route(glad, {True: judge}, fallback=judge), 1),
    "refine": (lambda: refine(judge, glad, until=bool, rounds=2), 1),
    "guard": (lambda: guard(judge, glad), 1),
    "within": (lambda: within(judge, Budget(calls=5)), 1),
    "section": (lambda: section({"log": mark}, merge=judge), 1),
    "compiled pattern": (lambda: chain(mark, judge).compile(), 1),
    "compiled by hand": (lambda: answering(by_hand(), "mood"), 1),
    "several fields": (lambda: answering(chain(judge, tag), "mood"), 1),
}


def model(*moods: str) -> ScriptedModel:
    said = iter(moods)
    told: dict[Any, str] = {}

    def say(request: Any, context: Any) -> Any:
        if context.step == "judge":
            return next(said, moods[-1])
        return told.get(context.step, "draft" if context.step == "write" else 0)

    return ScriptedModel(say)


def is_good(mood: str) -> bool | str:
    return mood == "good" or f"the mood is {mood}."


@pytest.mark.parametrize(("mood", "sync"), [("good", True), ("bad", False)])
@pytest.mark.parametrize("name", DECIDERS)
async def test_it_classifies_checks_and_watches(name: str, mood: str, sync: bool, session: Session) -> None:
    build, calls = DECIDERS[name]

    async def result_of(graph: Workflow[Any], thread: str) -> dict[str, Any]:
        app, config = graph.compile(), session.config(thread)
        return await (asyncio.to_thread(app.invoke, Text(), config) if sync else app.ainvoke(Text(), config))

    with using(asked := model(mood)):
        routed = route(build(), {"good": end("good"), "bad": end("bad"), "?": end()}, name="way")
        assert (await result_of(chain(routed, write), "route"))["mood"] == mood
        assert len(asked.asks) <= calls <= estimate(routed).most_calls
        gated = chain(gate(build(), is_good, otherwise=keep), mark)
        result = await result_of(gated, "gate")
        assert (result["mood"], result["seen"]) == (mood, "" if mood == "good" else "bad")
        guarded = guard(mark, build(), is_good, otherwise=keep)
        result = await result_of(guarded, "guard")
        assert (result["mood"], result["seen"]) == (mood, "" if mood == "good" else "bad")
        if mood == "bad":
            with pytest.raises(GateFailed, match="the mood is bad"):
                await result_of(gate(build(), is_good, name="strict"), "strict")
            with pytest.raises(GuardTripped, match="the mood is bad"):
                await result_of(guard(mark, build(), is_good, name="strict"), "strict guard")
    choices = session.journal.query("SELECT choice FROM decisions WHERE path = 'way/decide'")
    assert [row["choice"] for row in choices] == [mood]


@pytest.mark.parametrize("name", DECIDERS)
def test_it_judges_a_loop(name: str, session: Session) -> None:
    build, _ = DECIDERS[name]

    def grow(text: Text) -> dict[str, Any]:
        return {"text": text.text + "!"}

    def say(request: Any, context: Any) -> Any:
        if context.step != "judge":
            return 0
        return "bad" if "x!?" in request.messages[-1]["content"] else "good"

    graph = refine(grow, build(), until=lambda mood: mood == "good", rounds=3)
    with using(ScriptedModel(say)):
        result = graph.compile().invoke(Text(), session.config("t"))
    assert (result["text"], result["mood"]) == ("x!!", "good")
    rows = session.journal.query(
        "SELECT choice FROM decisions WHERE kind = 'refine' AND path LIKE '%decide' ORDER BY id"
    )
    assert [row["choice"] for row in rows][-2:] == ["again", "approved"]


def test_a_loops_best_round_has_what_its_judge_wrote(session: Session) -> None:
    drafts = iter("abc")

    def draft(text: Text) -> dict[str, Any]:
        return {"text": next(drafts)}

    graph = refine(
        draft,
        chain(mark, judge),
        until=lambda mood: False,
        rounds=3,
        score=lambda mood: float(mood == "good"),
    )
    with using(model("bad", "good", "bad")):
        result = graph.compile().invoke(Text(), session.config("t"))
    assert (result["text"], result["mood"], result["log"]) == ("b", "good", ["judged"] * 3)


@pytest.mark.parametrize("stops", ["unchanged", "failed"])
def test_a_pattern_judges_no_round_that_needs_none(stops: str, session: Session) -> None:
    def draft(text: Text) -> dict[str, Any]:
        if stops == "failed" and text.mood != "?":
            raise ModelRefused("no more")
        return {"text": "same"}

    graph = refine(draft, chain(mark, judge), until=lambda mood: False, rounds=5)
    with using(asked := model("bad")):
        result = graph.compile().invoke(Text(), session.config("t"))
    assert (result["text"], len(asked.asks)) == ("same", 1)
    assert session.journal.query("SELECT choice FROM decisions ORDER BY id")[-1]["choice"] == stops


def test_a_judge_that_fails_later_keeps_the_best(session: Session) -> None:
    def say(request: Any, context: Any) -> Any:
        return "bad" if "x!?" in request.messages[-1]["content"] else ModelRefused("no more")

    def grow(text: Text) -> dict[str, Any]:
        return {"text": text.text + "!"}

    graph = refine(grow, chain(mark, judge), until=lambda mood: False, rounds=5)
    with using(ScriptedModel(say)):
        result = graph.compile().invoke(Text(), session.config("t"))
    assert (result["text"], result["log"]) == ("x!", ["judged"])


def test_it_verifies_and_accepts(session: Session) -> None:
    with using(model("bad", "good")):
        checked = verify(write, chain(mark, judge), agrees=is_good, tries=1)
        assert checked.compile().invoke(Text(), session.config("t"))["mood"] == "good"
    with using(model("bad")):
        rungs = cascade(mark, keep, check=chain(judge, name="check"), accept=is_good)
        assert rungs.compile().invoke(Text(), session.config("u"))["seen"] == "bad"


PICKERS: dict[str, Any] = {
    "step": lambda: choose,
    "vote": lambda: vote(choose, 3, uncertain=0),
    "chain": lambda: chain(mark, choose),
    "function by number": lambda: lambda text: 1,
    "function by answer": lambda: longest,
}


def longest(text: Text) -> str:
    return max(text.drafts, key=len)


def second(text: Text) -> int:
    return 1


@pytest.mark.parametrize("name", PICKERS)
def test_it_picks_the_best_of_an_ensemble(name: str, session: Session) -> None:
    def say(request: Any, context: Any) -> Any:
        return {"choose": 1, "short": "ab", "long": "abcd"}[context.step]

    @step("text")
    def short(text: Text) -> Ask[str]:
        return Ask("Short")

    @step("text")
    def long(text: Text) -> Ask[str]:
        return Ask("Long")

    def broken(text: Text) -> dict[str, str]:
        raise ValueError("no draft")

    pick = second if name == "function by number" else PICKERS[name]()
    app = ensemble([broken, short, long], pick=pick, into="drafts", field="text").compile()
    with using(ScriptedModel(say)):
        result = app.invoke(Text(), session.config("t"))
    assert (result["text"], result["drafts"]) == ("abcd", ["ab", "abcd"])
    rows = session.journal.query("SELECT choice FROM decisions WHERE kind = 'ensemble' ORDER BY id")
    assert rows[-1]["choice"] == "long 3"


def test_a_picker_that_names_no_answer_is_told() -> None:
    def wrong(text: Text) -> int:
        return 7

    def one(text: Text) -> dict[str, str]:
        return {"text": "one"}

    with pytest.raises(NoAnswer, match="picked 7"):
        ensemble([one], pick=wrong, into="drafts", field="text").compile().invoke(Text())
    for options in ({"pick": wrong}, {"pick": wrong, "score": len, "into": "drafts"}, {}):
        with pytest.raises(DefinitionError):
            ensemble([one], field="text", **options)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: answering(chain(judge), "text"),
        lambda: answering(chain(judge), "moood"),
        lambda: route(by_hand(), {"good": mark}),
        lambda: gate(chain(mark, name="m"), bool),
        lambda: gate(chain(judge)),
        lambda: route(chain(judge), {"good": mark}),
        lambda: route(chain(judge), {"glad": mark}, fallback=mark),
    ],
)
def test_what_does_not_say_its_answer_is_told_when_it_is_built(wrong: Any) -> None:
    with pytest.raises(DefinitionError):
        wrong()


@pytest.mark.parametrize(
    ("part", "field", "told"),
    [
        (lambda: chain(mark, judge), "moood", "Did you mean 'mood'"),
        (by_hand, "moood", "Did you mean 'mood'"),
        (lambda: chain(judge), "text", "'chain_judge' does not write 'text'"),
    ],
    ids=["pattern", "graph by hand", "field of another"],
)
def test_an_answer_that_cannot_be_is_named(part: Any, field: str, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        answering(part(), field)


def cut(text: Text) -> list[Text]:
    return [Text("a")]


def test_each_pattern_says_what_it_answers_with() -> None:
    assert {name: answer_of(build()) for name, (build, _) in DECIDERS.items()} == dict.fromkeys(
        DECIDERS, "mood"
    )
    assert answer_of(fan_out(cut, write, into="parts")) == "parts"
    assert answer_of(map_reduce(cut, write, join=join, into="whole", tokens=99)) == "whole"
    assert answer_of(route(judge, {"good": write}, fallback=end())) == "text"


def test_a_compiled_graph_that_says_no_answer_is_refused_as_a_decider() -> None:
    graph = StateGraph(Text)
    graph.add_node("mark", mark)
    graph.add_edge(START, "mark")
    graph.add_edge("mark", END)
    with pytest.raises(DefinitionError, match=r"the graph 'plain' does not say which field is its answer"):
        gate(graph.compile(name="plain"), is_good)
