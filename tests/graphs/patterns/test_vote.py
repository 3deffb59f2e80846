"""Votes: majority, uncertainty, early ends, abstentions, and what is paid."""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from langgraph.types import Command, interrupt

from stepgraph import Ask, ScriptedModel, Session, Tally, chain, estimate, section, step, using, vote
from stepgraph.graphs.patterns.vote import is_decided
from stepgraph.state.errors import DefinitionError, StepgraphError

from .races import come_down_to, races

Mood = Literal["good", "bad", "mixed"]


@dataclass
class Review:
    text: str = "fine"
    thoughts: str = ""
    mood: Mood | None = None
    tally: Tally | None = None
    other: Mood | None = None
    log: Annotated[list[str], operator.add] = field(default_factory=list)


@step("mood")
def mood(review: Review) -> Ask[Mood]:
    return Ask(f"Mood of {review.text}?", temperature=0.8)


@step("mood")
def strict(review: Review) -> Ask[Mood]:
    return Ask(f"Strictly: mood of {review.text}?")


@step("thoughts")
def think(review: Review) -> Ask[str]:
    return Ask(f"Think about {review.text}.")


def run(app: Any, model: ScriptedModel, config: Any = None, *, sync: bool = True) -> dict[str, Any]:
    with model, using(model):
        result: dict[str, Any] = (
            app.invoke(Review(), config) if sync else asyncio.run(app.ainvoke(Review(), config))
        )
    return result


@pytest.mark.parametrize("sync", [True, False])
def test_the_majority_wins(session: Session, sync: bool) -> None:
    app = vote(mood, 3, tally="tally").compile()
    result = run(app, ScriptedModel({"mood": ["good", "bad", "good"]}), session.config("t"), sync=sync)
    assert result["mood"] == "good"
    assert result["tally"] == Tally(True, {"good": 2, "bad": 1}, 2 / 3, 3)
    assert not [name for name in result if name.startswith("stepgraph_")]
    (row,) = session.journal.query("SELECT * FROM decisions WHERE kind = 'vote'")
    assert (row["choice"], round(row["confidence"], 2)) == ("good", 0.67)
    assert "2 of 3 needed" in row["reason"]


@pytest.mark.parametrize(
    ("answers", "choice", "decided"),
    [(["mixed", "mixed"], "mixed", 1), (["good", "bad"], "uncertain", 0)],
)
def test_the_record_says_whether_it_was_decided_not_its_word(
    session: Session, answers: list[str], choice: str, decided: int
) -> None:
    app = vote(mood, 2, uncertain="mixed").compile()
    result = run(app, ScriptedModel({"mood": answers}), session.config("t"))
    assert result["mood"] == "mixed"
    (row,) = session.journal.query("SELECT * FROM decisions WHERE kind = 'vote'")
    assert (row["choice"], row["decided"]) == (choice, decided)


def test_without_a_majority_the_answer_is_uncertain() -> None:
    app = vote(mood, 3, tally="tally").compile()
    result = run(app, ScriptedModel({"mood": ["good", "bad", "mixed"]}))
    assert result["mood"] is None
    assert result["tally"].decided is False


def test_another_word_for_uncertain() -> None:
    result = run(vote(mood, 2, uncertain="mixed").compile(), ScriptedModel({"mood": ["good", "bad"]}))
    assert result["mood"] == "mixed"


async def test_it_stops_paying_once_decided(session: Session) -> None:
    """Of five draws three agree at once; the other two would have taken a minute."""
    begun, ended = [0], [0]
    all_begun = asyncio.Event()

    class Slow:
        name = "slow"

        async def complete(self, request: Any, context: Any) -> Any:
            begun[0] += 1
            if begun[0] == 5:
                all_begun.set()
            if begun[0] > 3:
                await asyncio.sleep(60)
            await all_begun.wait()  # else a busy machine decides the vote before all have begun
            ended[0] += 1
            return await fast.complete(request, context)

    fast = ScriptedModel(["good"] * 3)
    with using(Slow()):
        result = await asyncio.wait_for(
            vote(mood, 5, tally="tally").compile().ainvoke(Review(), session.config("t")), 20
        )
    assert (result["mood"], begun[0], ended[0]) == ("good", 5, 3)
    assert result["tally"].counts == {"good": 3}
    (row,) = session.journal.query("SELECT reason FROM decisions WHERE kind = 'vote'")
    assert "2 called off" in row["reason"]
    assert session.journal.query("SELECT count(*) AS n FROM calls WHERE answer IS NOT NULL")[0]["n"] == 3


def test_is_decided() -> None:
    assert is_decided(["a", "a", "a"], 5, 3)
    assert not is_decided(["a", "a"], 5, 3)
    assert is_decided(["a", "b", "c", "d"], 5, 3)
    assert not is_decided(["a", "a", "b", "b"], 5, 3)
    assert is_decided(["a", None, None, None], 5, 3)
    assert not is_decided([None, None, None], 5, 3)
    assert is_decided(["a", None, None], 3, 2)


@pytest.mark.parametrize("n", [2, 3])
def test_draws_are_never_joined(session: Session, n: int) -> None:
    model = ScriptedModel({"mood": ["good"] * n})
    run(vote(mood, n, needed=n).compile(), model, session.config("t"))
    assert len({request.sample for _, request in model.asks}) == n


def test_what_is_drawn_once_is_asked_as_it_is_elsewhere(session: Session) -> None:
    def samples(part: Any, thread: str) -> list[Any]:
        model = ScriptedModel(lambda *_: "good")
        run(part.compile(), model, session.config(thread))
        return [request.sample for _, request in model.asks]

    assert samples(vote([mood, strict], needed=2), "one") == samples(chain(mood, strict), "other")


def test_draws_of_a_pattern_are_never_joined_either(session: Session) -> None:
    model = ScriptedModel({"think": ["a", "b", "c"], "mood": ["good"] * 3})
    app = vote(chain(think, mood), 3, field="mood", needed=3).compile()
    result = run(app, model, session.config("t"))
    thoughts = {request.sample for name, request in model.asks if name == "think"}
    assert len(thoughts) == 3
    assert result["mood"] == "good"
    assert result["thoughts"] in {"a", "b", "c"}  # the first draw's; which is asked first is not said


def test_a_vote_in_a_vote_has_draws_of_its_own(session: Session) -> None:
    model = ScriptedModel({"mood": ["good"] * 9})
    run(vote(vote(mood, 3, needed=3), 3, field="mood", needed=3).compile(), model, session.config("t"))
    assert len({request.sample for _, request in model.asks}) == 9


def test_cached_draws_are_the_same_draws(session: Session) -> None:
    app = vote(mood, 3, needed=3).compile()
    run(app, ScriptedModel({"mood": ["good", "good", "bad"]}), session.config("a", cache_s=60))
    again = ScriptedModel([])
    result = run(app, again, session.config("b", cache_s=60))
    assert (result["mood"], again.asks) == (None, [])


def test_several_voters() -> None:
    app = vote([mood, strict, mood], tally="tally").compile()
    result = run(app, ScriptedModel({"mood": ["good", "bad"], "strict": ["bad"]}))
    assert result["mood"] == "bad"


@pytest.mark.parametrize(("n", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)])
def test_by_default_more_than_half_of_all_voters_are_needed(session: Session, n: int, needed: int) -> None:
    graph = vote(mood, n)
    run(graph.compile(), ScriptedModel(lambda *_: "good"), session.config("t"))
    (row,) = session.journal.query("SELECT reason FROM decisions WHERE kind = 'vote'")
    assert f"{needed} of {n} needed" in row["reason"]
    assert estimate(graph).least_calls == needed


def test_the_record_tells_counts_failures_and_doubts(session: Session) -> None:
    app = vote([mood, strict, fails], 2, field="mood", needed=6, tally="tally").compile()
    answers = {"mood": ["good", "good"], "strict": ["bad", "bad"]}
    tally = run(app, ScriptedModel(answers), session.config("t"))["tally"]
    (row,) = session.journal.query("SELECT choice, confidence, reason FROM decisions WHERE kind = 'vote'")
    assert (row["choice"], row["confidence"]) == ("uncertain", tally.agreement)
    assert set(tally.failed) <= {"fails 3", "fails 6"}  # those that had failed before nothing could win
    counts, *notes = row["reason"].split("; ")
    assert counts == ", ".join(f"{mood}: {count}" for mood, count in tally.counts.items())
    voted, failed = sum(tally.counts.values()), len(tally.failed)
    rest = {f"{failed} failed": failed, f"{6 - voted - failed} called off": 6 - voted - failed}
    warned = [tally.warning] if tally.warning else []
    assert notes == ["6 of 6 needed", *(note for note, count in rest.items() if count), *warned]


def test_a_vote_that_nobody_wins_before_the_last_has_voted_counts_all(session: Session) -> None:
    app = vote([mood, strict], 2, field="mood", needed=3, tally="tally").compile()
    answers = {"mood": ["good", "good"], "strict": ["bad", "bad"]}
    tally = run(app, ScriptedModel(answers), session.config("t"))["tally"]
    assert (tally.agreement, tally.asked, tally.counts) == (0.5, 4, {"good": 2, "bad": 2})


def test_a_long_answer_is_on_record_with_its_first_200_characters(session: Session) -> None:
    app = vote(think, 1, uncertain="").compile()
    run(app, ScriptedModel(["word " * 99]), session.config("t"))
    (row,) = session.journal.query("SELECT choice, reason FROM decisions WHERE kind = 'vote'")
    assert row["choice"] == ("word " * 99)[:200]
    assert row["reason"] == f"{('word ' * 99)[:60]}: 1; 1 of 1 needed"


def test_a_vote_that_is_over_leaves_nothing_in_memory(session: Session) -> None:
    before = races()
    run(vote(mood, 3).compile(), ScriptedModel(lambda *_: "good"), session.config("t"))
    assert come_down_to(before)


def test_errors_that_look_systematic_are_named() -> None:
    app = vote([mood, strict], 2, tally="tally").compile()
    answers = ScriptedModel({"mood": ["good", "good"], "strict": ["bad", "bad"]})
    assert "systematic" in run(app, answers)["tally"].warning
    mixed = ScriptedModel({"mood": ["good", "bad"], "strict": ["bad", "good"]})
    assert run(app, mixed)["tally"].warning == ""
    all_agree = vote([mood, strict], 2, needed=4, tally="tally").compile()
    assert run(all_agree, ScriptedModel(lambda *_: "good"))["tally"].warning == ""
    drawn_once = vote([mood, strict], tally="tally").compile()
    assert run(drawn_once, ScriptedModel({"mood": ["good"], "strict": ["bad"]}))["tally"].warning == ""


@step("mood")
def cold(review: Review) -> Ask[Mood]:
    return Ask("?", temperature=0)


@pytest.mark.parametrize(
    ("voters", "n", "named"),
    [(cold, 3, True), (cold, 2, True), ([cold, mood], 2, True), ([cold, mood], 1, False)],
)
def test_draws_at_temperature_zero_are_named(voters: Any, n: int, named: bool) -> None:
    result = run(vote(voters, n, tally="tally").compile(), ScriptedModel(lambda *_: "good"))
    assert ("temperature 0" in result["tally"].warning) == named


def test_key_makes_answers_equal() -> None:
    app = vote(think, 3, uncertain="", key=str.casefold, tally="tally").compile()
    result = run(app, ScriptedModel({"think": ["Yes", "yes", "no"]}))
    assert (result["thoughts"], result["tally"].counts) == ("Yes", {"yes": 2, "no": 1})


def fails(review: Review) -> dict[str, Any]:
    raise ValueError("no line")


async def hangs(review: Review) -> dict[str, Any]:
    await asyncio.sleep(60)
    return {"mood": "bad"}


def test_voters_that_fail_abstain() -> None:
    app = vote([mood, mood, fails], field="mood", tally="tally").compile()
    result = run(app, ScriptedModel({"mood": ["good", "good"]}))
    assert result["mood"] == "good"
    app = vote([mood, hangs, fails], field="mood", tally="tally", timeout_s=3).compile()
    result = run(app, ScriptedModel({"mood": ["good"]}))
    assert result["mood"] is None
    assert set(result["tally"].failed) == {"fails 3"} or set(result["tally"].failed) == {"hangs 2", "fails 3"}


def test_when_all_fail() -> None:
    with pytest.raises(StepgraphError, match=r"none of 2 voters answered\. fails 1: ValueError: no line"):
        vote([fails, fails], field="mood").compile().invoke(Review())


def test_failures_alone_decide_nothing() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def late(review: Review) -> dict[str, Any]:
        begun.set()
        await may_end.wait()
        return {"mood": "good"}

    async def fails_first(review: Review) -> dict[str, Any]:
        await begun.wait()
        asyncio.get_running_loop().call_later(0.01, may_end.set)
        raise ValueError("no line")

    result = asyncio.run(vote([late, fails_first], field="mood", tally="tally").compile().ainvoke(Review()))
    assert (result["mood"], result["tally"].counts) == (None, {"good": 1})


def test_a_person_among_the_voters(session: Session) -> None:
    def ask_person(review: Review) -> dict[str, Any]:
        return {"mood": interrupt("Mood?")}

    app = vote([mood, ask_person, strict], field="mood", needed=3).compile()
    with ScriptedModel({"mood": ["good"], "strict": ["good"]}) as model, using(model):
        app.invoke(Review(), session.config("t"))
        result = app.invoke(Command(resume="good"), session.config("t"))
    assert result["mood"] == "good"
    assert len(model.asks) == 2


def test_votes_beside_votes(session: Session) -> None:
    @step("other")
    def other(review: Review) -> Ask[Mood]:
        return Ask("Other?")

    app = section({"one": vote(mood, 3), "two": vote(other, 3)}).compile()
    answers = ScriptedModel(lambda request, context: "good" if context.step == "mood" else "bad")
    result = run(app, answers, session.config("t"))
    assert (result["mood"], result["other"]) == ("good", "bad")


def test_a_second_run_on_the_thread(session: Session) -> None:
    app = vote(mood, 3).compile()
    run(app, ScriptedModel(lambda *_: "good"), session.config("t"))
    result = run(app, ScriptedModel(lambda *_: "bad"), session.config("t"))
    assert result["mood"] == "bad"


@pytest.mark.parametrize(
    ("voters", "options", "told"),
    [
        ([], {}, "needs voters"),
        (mood, {"n": 0}, "needs voters"),
        (mood, {"n": 1.5}, "needs voters"),
        ([mood, think], {}, "which field"),
        ([mood, think], {"field": "mood"}, "'think' does not write 'mood'"),
        (mood, {"n": 3, "needed": 1}, "more than half of 3"),
        (mood, {"n": 3, "needed": 4}, "at most all"),
        (mood, {"n": 4, "needed": 2}, "more than half of 4"),
        (mood, {"n": 3, "needed": 2.5}, "more than half of 3"),
        (fails, {"n": 3, "field": "log"}, "'log' has a reducer"),
        (fails, {"n": 3, "field": "moood"}, "Did you mean 'mood'"),
        (mood, {"n": 3, "uncertain": "unsure"}, "cannot be 'unsure'"),
        (think, {"n": 3}, None),
        (mood, {"n": 3, "tally": "thoughts"}, "expected Tally"),
        (mood, {"n": 3, "timeout_s": 0}, "above 0"),
        (mood, {"n": 3, "tally": "taly"}, "Did you mean 'tally'"),
    ],
)
def test_bad_options(voters: Any, options: dict[str, Any], told: str | None) -> None:
    with pytest.raises(DefinitionError, match=told or "cannot be None"):
        vote(voters, **options)
