from __future__ import annotations

import time
from dataclasses import dataclass, field

import pytest

from stepgraph import Ask, ScriptedModel, step, using
from stepgraph.providers.model import CallContext, Request
from stepgraph.state.errors import AuthenticationFailed, ScriptError


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""
    tags: list[str] = field(default_factory=list)


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write about {post.topic}.")


@step("tags")
def tag(post: Post) -> Ask[list[str]]:
    return Ask("Tag it.")


async def test_a_sequence_answers_in_order_and_keeps_the_questions() -> None:
    with ScriptedModel(["Boil.", ["hot"]]) as model, using(model):
        assert await write.answer(Post()) == "Boil."
        assert await tag.answer(Post()) == ["hot"]
    assert [name for name, _ in model.asks] == ["write", "tag"]
    assert model.asks[0][1].messages[-1]["content"] == "Write about tea."


async def test_each_step_may_have_its_own_answers() -> None:
    with ScriptedModel({"tag": [["hot"]], "write": ["Boil."]}) as model, using(model):
        assert await write.answer(Post()) == "Boil."
        assert await tag.answer(Post()) == ["hot"]


async def test_a_function_answers_from_the_question() -> None:
    def shout(request: Request, context: CallContext) -> str:
        return f"{context.step}: {request.messages[-1]['content'].upper()}"

    with using(ScriptedModel(shout)):
        assert await write.answer(Post()) == "write: WRITE ABOUT TEA."


async def test_an_exception_is_raised() -> None:
    with using(ScriptedModel([AuthenticationFailed("no")])), pytest.raises(AuthenticationFailed):
        await write.answer(Post())


async def test_running_out_of_answers_is_an_error() -> None:
    with (
        using(ScriptedModel([])),
        pytest.raises(ScriptError, match=r"no answer left for step 'write' .*tea\."),
    ):
        await write.answer(Post())
    named = "step 'write' .* The script is for the steps tag"
    with using(ScriptedModel({"tag": []})), pytest.raises(ScriptError, match=named):
        await write.answer(Post())


def test_answers_left_over_are_an_error() -> None:
    with pytest.raises(ScriptError, match=r"2 scripted answers .* the first: 'a'"), ScriptedModel(["a", "b"]):
        pass
    with pytest.raises(ScriptError, match="1 scripted answers"):
        ScriptedModel({"write": ["a"]}).finish()


def test_an_error_inside_the_block_is_not_hidden() -> None:
    with pytest.raises(KeyError), ScriptedModel(["a"]):
        raise KeyError


async def test_usage_delay_and_reasoning_are_played() -> None:
    model = ScriptedModel(["two words"], delay_s=0.05, reasoning="Hm.")
    started = time.monotonic()
    reply = await model.complete(Request(({"role": "user", "content": "one two three"},)), CallContext("s"))
    assert time.monotonic() - started >= 0.04
    assert (reply.usage.input, reply.usage.output, reply.reasoning, reply.cost_usd) == (3, 2, "Hm.", None)
