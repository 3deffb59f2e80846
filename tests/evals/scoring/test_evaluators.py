from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from stepgraph.evals.scoring.evaluators import Code, Exact, Numeric, Schema, Similarity
from stepgraph.evals.scoring.openevals import Messages
from stepgraph.evals.suite.model import EvaluatorInput, Score


def given(actual: Any, expected: Any = None) -> EvaluatorInput:
    return EvaluatorInput(actual, expected, "a", {"text": "in"}, {"answer": actual}, ("good",), ("classify",))


async def test_exact_compares_as_json() -> None:
    same = Exact(name="x")
    assert (await same.score(given([1, {"a": 2}], (1, {"a": 2})))).passed
    assert await same.score(given("B", "b")) == Score(0.0, False, "expected b, got B")
    loose = Exact(name="x", case=False, space=False)
    assert (await loose.score(given({"a": " B  c"}, {"a": "b C"}))).passed


@pytest.mark.parametrize(
    ("actual", "expected", "good"),
    [(10, 10.4, True), (10, 10.6, False), ("10.2", 10, True), (True, 1, False), ("ten", 10, False),
     (float("nan"), 1, False), (None, 1, False)],
)  # fmt: skip
async def test_numeric_has_a_tolerance(actual: Any, expected: Any, good: bool) -> None:
    assert (await Numeric(name="n", tolerance=0.5).score(given(actual, expected))).passed is good


async def test_numeric_may_be_relative() -> None:
    assert (await Numeric(name="n", relative=0.1).score(given(109, 100))).passed
    assert not (await Numeric(name="n", relative=0.1).score(given(111, 100))).passed


class Answer(BaseModel):
    score: int


async def test_schema_says_where_it_does_not_fit() -> None:
    fits = Schema(name="s", type=Answer)
    assert (await fits.score(given({"score": 3}))).passed
    assert (await fits.score(given({"score": "high"}))).reason.startswith(
        "score: Input should be a valid integer"
    )


async def test_similarity_of_text_and_of_meaning() -> None:
    text = await Similarity(name="s").score(given("a kettle", "a kettle!"))
    assert text.value == pytest.approx(16 / 17)
    near = await Similarity(name="s", by="meaning", at_least=0.3).score(
        given("the kettle is broken", "a defect kettle")
    )
    far = await Similarity(name="s", by="meaning", at_least=0.3).score(
        given("the kettle is broken", "football results")
    )
    assert near.passed
    assert near.value is not None
    assert far.value is not None
    assert near.value > far.value
    assert (await Similarity(name="s", by="meaning").score(given("", "x"))).value == 0.0


@pytest.mark.parametrize(
    ("found", "value", "passed"),
    [(True, 1.0, True), (0.4, 0.4, False), ((0.9, "well"), 0.9, True), (None, None, None), (7, None, None),
     ("good", None, None), (float("nan"), None, None), (Score(0.2, True), 0.2, True)],
)  # fmt: skip
async def test_code_gives_a_score(found: Any, value: Any, passed: Any) -> None:
    score = await Code(name="c", function=lambda actual: found).score(given("x"))
    assert (score.value, score.passed) == (value, passed)


async def test_code_takes_what_it_names_and_its_own_failure_is_unscored() -> None:
    async def whole(actual: str, expected: str, route: Any, input: Any) -> bool:
        return (actual, expected, route, input) == ("x", "y", ("good",), {"text": "in"})

    def broken(actual: str) -> bool:
        raise KeyError("nothing")

    assert (await Code(name="c", function=whole).score(given("x", "y"))).passed
    score = await Code(name="c", function=broken).score(given("x"))
    assert (score.value, score.reason) == (None, "c raised KeyError: 'nothing'")


def call(name: str, arguments: str = "{}") -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}


async def test_messages_match_their_tool_calls() -> None:
    wanted = [{"role": "user", "content": "hi"}, call("search")]
    same = Messages(name="m")
    assert (await same.score(given(wanted, wanted))).passed
    other = [wanted[0], call("delete")]
    assert (await same.score(given(other, wanted))).passed is False
    more = [*wanted, call("search", '{"q": 1}')]
    assert (await Messages(name="m", match="superset").score(given(more, wanted))).passed
    assert (await same.score(given("text", wanted))).passed is False


async def test_a_function_may_call_its_value_whatever_it_likes() -> None:
    def first(values: str, expected: str) -> bool:
        return values == expected == "a"

    given = EvaluatorInput("a", "a", "c", {}, {"other": 1})
    assert await Code(name="f", function=first, wants_expected=True).score(given) == Score.of(True)
