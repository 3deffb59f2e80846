from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from stepgraph import Ask, Choice, ScriptedModel, Step, step, using
from stepgraph.providers.model import CallContext, Reply, ReplyCheck
from stepgraph.state.errors import AuthenticationFailed, DefinitionError, InvalidAnswer, UnboundRole


class Grade(BaseModel):
    score: int
    fix: str = ""


class Mood(Enum):
    GOOD = "good"


@dataclass
class Point:
    x: int


class Person(TypedDict):
    name: str


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""
    grade: Grade | None = None
    value: Any = None
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FrozenPost:
    topic: str = "tea"
    draft: str = ""


class DictPost(TypedDict, total=False):
    topic: str
    draft: str


class ModelPost(BaseModel):
    topic: str = "tea"
    draft: str = ""


@step("draft", model="large")
def write(post: Post) -> Ask[str]:
    """Write the post."""
    return Ask(f"Write about {post.topic}.", system="Be brief.", max_tokens=50, temperature=0.5)


@step("grade")
def judge(post: Post) -> Ask[Grade]:
    return Ask(f"Grade: {post.draft}")


def asking(answer: Any) -> Step[Post, Any]:
    def ask(post: Post) -> Any:
        return Ask("?")

    ask.__annotations__ = {"post": Post, "return": Ask[answer]}
    return step("value")(ask)


def test_a_prompt_is_tested_without_a_model() -> None:
    assert write.ask(Post("tea")).prompt == "Write about tea."
    request = write.request(Post("tea"))
    assert [m["role"] for m in request.messages] == ["system", "user"]
    assert request.params() == {"max_tokens": 50, "temperature": 0.5}
    assert judge.request(Post()).schema == Grade.model_json_schema()
    assert (write.name, write.role, write.__doc__) == ("write", "large", "Write the post.")


async def test_a_step_returns_the_update_of_its_field() -> None:
    with ScriptedModel(["Boil water.", Grade(score=4)]) as model, using(model):
        assert await write.ainvoke(Post()) == {"draft": "Boil water."}
        assert judge.invoke(Post(draft="Boil water.")) == {"grade": Grade(score=4)}


@pytest.mark.parametrize(
    ("answer", "scripted", "value"),
    [
        (str, "text", "text"),
        (Literal["a", "b"], "b", "b"),
        (bool, False, False),
        (int, 3, 3),
        (list[str], ["x", "y"], ["x", "y"]),
        (Grade, {"score": 2}, Grade(score=2)),
        (Point, {"x": 1}, Point(1)),
        (Person, {"name": "Ann"}, {"name": "Ann"}),
        (Mood, "good", Mood.GOOD),
    ],
)
async def test_an_answer_comes_as_its_type(answer: Any, scripted: Any, value: Any) -> None:
    with ScriptedModel([scripted]) as model, using(model):
        assert await asking(answer).answer(Post()) == value


@pytest.mark.parametrize("state", [Post(), FrozenPost(), ModelPost(), {"topic": "tea"}])
async def test_every_kind_of_state_will_do(state: Any) -> None:
    def draft(post: Any) -> Any:
        return Ask(f"On {post['topic'] if isinstance(post, dict) else post.topic}")

    kind = DictPost if isinstance(state, dict) else type(state)
    draft.__annotations__ = {"post": kind, "return": Ask[str]}
    with ScriptedModel(["text"]) as model, using(model):
        assert await step("draft")(draft).ainvoke(state) == {"draft": "text"}
    assert model.asks[0][1].messages[0]["content"] == "On tea"


async def test_an_invalid_answer_is_asked_for_again_with_its_problem() -> None:
    with ScriptedModel(["four", '{"score": "high"}', {"score": 4}]) as model, using(model):
        assert await judge.answer(Post(draft="x")) == Grade(score=4)

    first, second, third = (request.messages for _, request in model.asks)
    assert second[: len(first)] == first
    assert second[-2] == {"role": "assistant", "content": "four"}
    assert "not valid JSON" in second[-1]["content"]
    assert "score: Input should be a valid integer" in third[-1]["content"]
    assert len(third) == len(second)


async def test_an_empty_text_is_asked_for_again() -> None:
    with ScriptedModel(["  ", "Boil water."]) as model, using(model):
        assert await write.answer(Post()) == "Boil water."
    assert "The answer was empty." in model.asks[1][1].messages[-1]["content"]


@pytest.mark.parametrize("confidence", [0.4, None])
async def test_a_check_of_a_reply_reads_how_sure_it_is(confidence: float | None) -> None:
    sites: list[CallContext] = []
    answer = {"label": "tea", "confidence": confidence}

    def answers(_: Any, context: CallContext) -> Any:
        sites.append(context)
        return answer

    with ScriptedModel(answers) as model, using(model):
        await asking(Choice[str]).answer(Post())
    check = sites[0].check
    assert check is not None
    assert check(Reply(json.dumps(answer), "m")) == ReplyCheck(confidence=confidence)


async def test_tries_bound_how_often_a_model_is_asked() -> None:
    @step("grade", tries=2)
    def strict(post: Post) -> Ask[Grade]:
        return Ask("Grade.")

    with (
        ScriptedModel(["bad", "worse"]) as model,
        using(model),
        pytest.raises(
            InvalidAnswer, match="Step 'strict': scripted gave no valid Grade in 2 tries"
        ) as caught,
    ):
        await strict.answer(Post())
    assert caught.value.answers == ("bad", "worse")
    assert caught.value.step == "strict"
    assert "not valid JSON" in caught.value.problems


async def test_an_error_of_the_model_names_the_step() -> None:
    with (
        ScriptedModel([AuthenticationFailed("no entry", model="m")]) as model,
        using(model),
        pytest.raises(AuthenticationFailed, match="Step 'write': no entry"),
    ):
        await write.answer(Post())


async def test_an_unbound_role_names_the_step() -> None:
    with pytest.raises(UnboundRole, match="Step 'write': No model is bound to the role 'large'"):
        await write.answer(Post())


def test_a_misspelt_field_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(DefinitionError, match=r"Step 'f' writes 'darft'.*Did you mean 'draft'\?"):

        @step("darft")
        def f(post: Post) -> Ask[str]:
            return Ask("?")


def test_an_answer_that_does_not_fit_the_field_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"answers with Grade, but Post\.draft is str\."):

        @step("draft")
        def f(post: Post) -> Ask[Grade]:
            return Ask("?")


def test_an_async_step_is_refused() -> None:
    with pytest.raises(DefinitionError, match="Step 'f' is async"):

        @step("draft")  # type: ignore[arg-type]
        async def f(post: Post) -> Ask[str]:
            return Ask("?")


def test_a_step_must_say_what_it_asks_for() -> None:
    with pytest.raises(DefinitionError, match=r"annotate it `-> Ask\[str\]`"):

        @step("draft")  # type: ignore[arg-type]
        def f(post: Post) -> str:
            return "?"

    with pytest.raises(DefinitionError, match="no annotation"):

        @step("draft")
        def g(post):  # type: ignore[no-untyped-def]
            return Ask("?")


def test_a_step_without_its_field_or_without_a_try_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"not @step\."):
        step(lambda post: Ask("?"))  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="expected at least 1"):
        step("draft", tries=0)


def test_a_step_that_returns_no_question_is_told_so() -> None:
    @step("draft")
    def f(post: Post) -> Ask[str]:
        return "Write."  # type: ignore[return-value]

    with pytest.raises(DefinitionError, match=r"Step 'f' returned str; expected Ask\(prompt\)"):
        f.ask(Post())


def test_types_that_are_local_to_a_function_are_found() -> None:
    class LocalGrade(BaseModel):
        score: int

    @dataclass
    class LocalPost:
        topic: str = "tea"
        value: Any = None

    @step("value")
    def local(post: LocalPost) -> Ask[LocalGrade]:
        return Ask(post.topic)

    assert local.state is LocalPost
    assert local.answer_type is LocalGrade


def test_a_bare_ask_asks_for_text() -> None:
    @step("draft")
    def bare(post: Post) -> Ask:
        return Ask("?")

    assert bare.answer_type is str


def test_a_type_that_is_not_there_is_named() -> None:
    with pytest.raises(DefinitionError, match="'Missing' cannot be resolved"):

        @step("draft")
        def f(post: Post) -> Ask[Missing]:  # type: ignore[name-defined]  # noqa: F821
            return Ask("?")
