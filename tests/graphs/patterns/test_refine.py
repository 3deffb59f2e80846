from __future__ import annotations

import asyncio
import math
import operator
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from stepgraph import Ask, ScriptedModel, Session, chain, refine, rule, step, using
from stepgraph.state.errors import DefinitionError, ModelRefused


class Grade(BaseModel):
    score: int
    fix: str = ""


@dataclass
class Post:
    topic: str = "tea"
    outline: str = ""
    draft: str = ""
    grade: Grade | None = None
    problems: list[str] = field(default_factory=list)
    log: Annotated[list[str], operator.add] = field(default_factory=list)


@step("outline")
def plan(post: Post) -> Ask[str]:
    return Ask(f"Outline {post.topic}")


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write. Fix: {post.grade.fix if post.grade else 'nothing'}")


@step("grade")
def judge(post: Post) -> Ask[Grade]:
    return Ask(f"Grade: {post.draft}")


@rule("problems")
def check(post: Post) -> list[str]:
    return [] if len(post.draft) > 5 else ["too short"]


def good(grade: Grade) -> bool:
    return grade.score >= 4


def run(app: Any, answers: list[Any], *config: Any, post: Post | None = None) -> dict[str, Any]:
    with ScriptedModel(answers) as model, using(model):
        result: dict[str, Any] = app.invoke(post or Post(), *config)
    return result


def graded(score: int, fix: str = "") -> dict[str, Any]:
    return {"score": score, "fix": fix}


def choices_in(session: Session) -> list[str]:
    return [row["choice"] for row in session.journal.query("SELECT choice FROM decisions ORDER BY id")]


polish = refine(write, judge, until=good, rounds=3)


def test_approval_ends_the_loop(session: Session) -> None:
    result = run(polish.compile(), ["one", graded(2), "two", graded(5)], session.config("t"))
    assert (result["draft"], result["grade"]) == ("two", Grade(score=5))
    assert "stepgraph_rounds" not in result
    assert choices_in(session) == ["again", "approved"]


async def test_the_next_round_sees_the_verdict() -> None:
    with ScriptedModel(["one", graded(2, "shorter"), "two", graded(5)]) as model, using(model):
        await polish.compile().ainvoke(Post())
    drafts = [r.messages[0]["content"] for name, r in model.asks if name == "write"]
    assert drafts == ["Write. Fix: nothing", "Write. Fix: shorter"]


def test_without_approval_the_best_round_is_restored(session: Session) -> None:
    answers = ["one", graded(1), "two", graded(3, "best"), "three", graded(2)]
    result = run(polish.compile(), answers, session.config("t"))
    assert (result["draft"], result["grade"]) == ("two", Grade(score=3, fix="best"))
    assert choices_in(session) == ["again", "again", "rounds used up"]
    (last,) = session.journal.query("SELECT path, reason FROM decisions ORDER BY id DESC LIMIT 1")
    assert last["path"] == "judge"
    assert last["reason"].startswith("kept round 2 of 3: ")


def test_an_unchanged_draft_ends_the_loop_unjudged(session: Session) -> None:
    result = run(polish.compile(), ["one", graded(2), "one"], session.config("t"))
    assert (result["draft"], result["grade"]) == ("one", Grade(score=2))
    assert choices_in(session) == ["again", "unchanged"]


def test_an_unchanged_draft_still_gives_way_to_the_best() -> None:
    result = run(polish.compile(), ["one", graded(3), "two", graded(1), "two"])
    assert (result["draft"], result["grade"]) == ("one", Grade(score=3))


def test_a_score_function_ranks_the_rounds() -> None:
    fewest = refine(write, judge, until=good, rounds=2, score=lambda grade: -grade.score)
    assert run(fewest.compile(), ["one", graded(1), "two", graded(3)])["draft"] == "one"


def test_without_any_score_the_last_round_is_best() -> None:
    loop = refine(write, check, until=lambda problems: not problems, rounds=2)
    assert run(loop.compile(), ["a", "b"])["draft"] == "b"


def test_of_equal_rounds_the_later_one_is_kept(session: Session) -> None:
    loop = refine(write, judge, until=good, rounds=3)
    assert run(loop.compile(), ["one", graded(3), "two", graded(3), "three", graded(1)])["draft"] == "two"


def test_a_round_without_a_score_does_not_take_the_place_of_one_that_has_it() -> None:
    scores = {1: 2.0, 2: math.nan, 3: 1.0}
    loop = refine(write, judge, until=good, rounds=3, score=lambda grade: scores[grade.score])
    assert run(loop.compile(), ["one", graded(1), "two", graded(2), "three", graded(3)])["draft"] == "one"


def test_the_best_round_is_kept_as_it_was_although_code_changes_it_later() -> None:
    def more(post: Post) -> dict[str, Any]:
        post.problems.append(f"{len(post.problems)}")
        return {"problems": post.problems, "draft": post.draft + "x"}

    scores = iter([2, 1])
    loop = refine(more, lambda_judge(scores), until=lambda score: score > 4, rounds=2)
    result = loop.compile().invoke(Post())
    assert (result["draft"], result["problems"]) == ("x", ["0"])


def lambda_judge(scores: Iterator[int]) -> Any:
    def rate(post: Post) -> int:
        return next(scores)

    return rate


def test_a_long_verdict_is_on_record_with_its_first_500_characters(session: Session) -> None:
    run(polish.compile(), ["one", graded(5, "fix " * 200)], session.config("t"))
    (row,) = session.journal.query("SELECT reason FROM decisions")
    assert row["reason"] == "round 1: " + f'{{"score":5,"fix":"{"fix " * 200}"}}'[:500]


def test_code_may_judge() -> None:
    loop = refine(write, check, until=lambda problems: not problems, rounds=3)
    result = run(loop.compile(), ["a", "long enough"])
    assert (result["draft"], result["problems"]) == ("long enough", [])

    def length(post: Post) -> int:
        return len(post.draft)

    longest = refine(write, length, until=lambda chars: chars > 10, rounds=2)
    assert run(longest.compile(), ["longer", "short"])["draft"] == "longer"


def test_a_reducer_field_keeps_every_rounds_entries() -> None:
    def note(post: Post) -> dict[str, Any]:
        return {"log": [post.draft]}

    loop = refine(chain(write, note), judge, until=good, rounds=3)
    answers = ["one", graded(3), "two", graded(2), "three", graded(1)]
    result = run(loop.compile(), answers, post=Post(log=["start"]))
    assert result["draft"] == "one"
    assert result["log"] == ["start", "one", "two", "three"]


def test_only_what_the_producer_writes_is_restored() -> None:
    def count(post: Post) -> dict[str, Any]:
        return {"topic": post.topic + "!"}

    loop = refine(chain(plan, write), judge, until=good, rounds=2)
    answers = ["o1", "one", graded(3), "o2", "two", graded(1)]
    result = run(chain(count, loop).compile(), answers)
    assert (result["topic"], result["outline"], result["draft"]) == ("tea!", "o1", "one")


def test_a_second_run_on_the_thread_starts_with_fresh_rounds(session: Session) -> None:
    app, config = polish.compile(), session.config("t")
    run(app, ["one", graded(3), "two", graded(2), "three", graded(1)], config)
    result = run(app, ["four", graded(1), "five", graded(2), "six", graded(1)], config)
    assert (result["draft"], result["grade"]) == ("five", Grade(score=2))


def test_a_loop_nests_in_a_loop() -> None:
    outer = refine(polish, judge, until=lambda grade: grade.score == 5, rounds=2)
    answers = ["one", graded(4), graded(3), "two", graded(1), "three", graded(4), graded(5)]
    assert run(outer.compile(), answers)["draft"] == "three"


def test_one_round_judges_once() -> None:
    once = refine(write, judge, until=good, rounds=1)
    assert run(once.compile(), ["one", graded(1)])["draft"] == "one"


def test_a_loop_that_cannot_work_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"rounds=0\): expected a whole number, at least 1"):
        refine(write, judge, until=good, rounds=0)
    with pytest.raises(DefinitionError, match="3 is no step"):
        refine(write, 3, until=good, rounds=1)  # type: ignore[call-overload]

    async def later(grade: Grade) -> bool:
        return True

    wrong: list[dict[str, Any]] = [{"until": later}, {"until": 3}, {"score": later}, {"score": 3}]
    for options in wrong:
        with pytest.raises(
            DefinitionError, match=rf"refine\({next(iter(options))}=….: expected a plain function"
        ):
            refine(write, judge, **{"until": good, "rounds": 1, **options})


def failing_round(part: str, number: int) -> Any:
    """Answers by the step; the call of one part in one round fails."""
    asked: Counter[str] = Counter()

    def say(request: Any, context: Any) -> Any:
        asked[context.step] += 1
        if (context.step, asked[context.step]) == (part, number):
            return ModelRefused("no more")
        return f"draft {asked['write']}" if context.step == "write" else graded([0, 3, 1, 2][asked["judge"]])

    return say


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("part", ["write", "judge"])
@pytest.mark.parametrize("sync", [True, False])
async def test_a_round_that_fails_keeps_the_best_so_far(
    part: str, nested: bool, sync: bool, session: Session
) -> None:
    def note(post: Post) -> dict[str, Any]:
        return {"log": ["begun"]}

    produce: Any = chain(note, write) if nested else write
    app = refine(produce, judge, until=good, rounds=5).compile()
    with using(ScriptedModel(failing_round(part, 3))):
        call = asyncio.to_thread(app.invoke, Post(), session.config("t")) if sync else None
        result = await (call or app.ainvoke(Post(), session.config("t")))
    assert (result["draft"], result["grade"]) == ("draft 1", Grade(score=3))
    whole = 3 if part == "judge" else 2
    assert result["log"] == (["begun"] * whole if nested else [])
    last = session.journal.query("SELECT choice, reason FROM decisions ORDER BY id")[-1]
    assert last["choice"] == "failed"
    assert last["reason"] == f"kept round 1 of {whole}: ModelRefused: Step {part!r}: no more"


@pytest.mark.parametrize(
    ("part", "number", "failed"),
    [("write", 1, "keep"), ("judge", 1, "keep"), ("write", 2, "fail"), ("judge", 2, "fail")],
)
def test_a_round_with_nothing_before_it_ends_the_run(
    part: str, number: int, failed: Any, session: Session
) -> None:
    app = refine(write, judge, until=good, rounds=2, failed=failed).compile()
    with using(ScriptedModel(failing_round(part, number))) as _, pytest.raises(ModelRefused):
        app.invoke(Post(), session.config("t"))
    with ScriptedModel([graded(5)] if part == "judge" else ["new", graded(5)]) as model, using(model):
        assert app.invoke(None, session.config("t"))["grade"].score == 5


def test_a_mistake_in_a_later_round_ends_the_run(session: Session) -> None:
    def fix(post: Post) -> dict[str, Any]:
        if post.grade is not None:
            raise KeyError("code")
        return {"draft": "once"}

    app = refine(fix, judge, until=good, rounds=3).compile()
    with pytest.raises(KeyError):
        run(app, [graded(1)], session.config("t"))


def test_an_unknown_way_to_take_a_failure_is_refused() -> None:
    with pytest.raises(DefinitionError, match="'keep' or 'fail'"):
        refine(write, judge, until=good, rounds=2, failed="skip")  # type: ignore[arg-type]
