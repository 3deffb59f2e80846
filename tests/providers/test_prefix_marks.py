"""A shared prefix on the wire: first, byte for byte the same, marked where the provider wants a mark."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from stepgraph import Ask, step, using
from stepgraph.cli.support.ask_again import _reworded
from stepgraph.providers.model import Request
from stepgraph.providers.prefix_marks import front_of, mark_for, marked
from stepgraph.state.errors import DefinitionError, InputError

from ..caching_server import CHARS, CachingServer, rendered
from ..imitator import KEY
from ..imitators_of_classes import Anthropic

TEXT = "The whole contract. " * 5
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
MARKED = {"cache_control": {"type": "ephemeral"}}
PREFIXES: dict[str, str | Sequence[BaseMessage]] = {
    "text": TEXT,
    "system": [SystemMessage(TEXT)],
    "user": [HumanMessage(TEXT)],
    "both": [SystemMessage("Be brief."), HumanMessage(TEXT)],
    "dialogue": [HumanMessage(TEXT), AIMessage("Read.")],
    "image": [HumanMessage([{"type": "text", "text": TEXT}, IMAGE])],
}
PROMPTS: dict[str, str | Sequence[BaseMessage]] = {
    "text": "Why?",
    "messages": [HumanMessage("Why?"), AIMessage("So."), HumanMessage("Really?")],
    "image": [HumanMessage([IMAGE, {"type": "text", "text": "What is it?"}])],
}


class Answer(BaseModel):
    word: str


class State(BaseModel):
    number: int = 0
    answer: str = ""
    structured: Answer | None = None


def request_of(ask: Ask[Any]) -> Request:
    messages, prefix = ask.parts()
    return Request(messages, prefix=prefix)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("system", [None, "Be exact."])
def test_the_front_is_the_same_whatever_is_asked(prefix: str, prompt: str, system: str | None) -> None:
    if system and prefix in ("system", "both"):
        with pytest.raises(InputError, match="system message of its own"):
            Ask(PROMPTS[prompt], system, prefix=PREFIXES[prefix]).parts()
        return
    one = request_of(Ask(PROMPTS[prompt], system, prefix=PREFIXES[prefix]))
    other = request_of(Ask("Something else?", system, prefix=PREFIXES[prefix]))
    assert front_of(one) == front_of(other)
    assert front_of(one) != front_of(request_of(Ask(PROMPTS[prompt], system, prefix=f"{TEXT}!")))
    index, amount = one.prefix or (0, 0)
    roles = [message["role"] for message in one.messages]
    assert "system" not in roles[1:]
    assert all(pair != ("user", "user") for pair in pairwise(roles))
    if isinstance(one.messages[index]["content"], str):
        assert one.messages[index]["content"][:amount] == other.messages[index]["content"][:amount]
    texts = [rendered({"messages": request.messages})[0] for request in (one, other)]
    whole, (end,) = rendered({"messages": marked(one, "cache_control")})
    assert whole == texts[0]  # the mark changes nothing that a model reads
    assert texts[0][:end] == texts[1][:end]
    assert TEXT in texts[0][:end]


def test_systems_that_differ_stand_behind_a_prefix_of_text() -> None:
    asked = [request_of(Ask("Why?", f"You are expert {n}.", prefix=TEXT)) for n in range(2)]
    assert front_of(asked[0]) == front_of(asked[1])
    assert asked[0].messages[0]["content"] == f"{TEXT}\n\nYou are expert 0."


def test_the_prefix_is_part_of_the_key_and_nothing_is_where_there_is_none() -> None:
    plain = Request(({"role": "user", "content": "Why?"},))
    assert "prefix" not in plain.params()
    assert request_of(Ask("Why?", prefix="")).prefix is None
    assert request_of(Ask("Why?", prefix=TEXT)).params()["prefix"] == (0, len(TEXT))


def test_a_system_message_in_the_prompt_does_not_go_behind_messages() -> None:
    with pytest.raises(InputError, match="begins with a system message"):
        Ask([SystemMessage("x"), HumanMessage("y")], prefix=[HumanMessage(TEXT)]).parts()


def test_a_prefix_that_is_none_is_told() -> None:
    @step("answer")
    def wrong(state: State) -> Ask[str]:
        return Ask("Why?", prefix=42)  # type: ignore[arg-type]

    with pytest.raises(DefinitionError, match="prefix int"):
        wrong.request(State())


def test_what_the_user_marked_stays_and_a_fifth_mark_is_not_added() -> None:
    own = {"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    request = request_of(Ask("Why?", prefix=[HumanMessage([own])]))
    ((part, _),) = (message["content"] for message in marked(request, "cache_control"))
    assert part["cache_control"]["ttl"] == "1h"
    four = Request(({"role": "user", "content": [own] * 4 + [{"type": "text", "text": "x"}]},), prefix=(0, 5))
    assert marked(four, "cache_control") == four.messages


@pytest.mark.parametrize(
    ("classes", "model", "mark"),
    [
        ({"ChatAnthropic"}, "claude-sonnet-5", "cache_control"),
        ({"ChatAnthropicVertex", "_VertexAICommon"}, "claude", "cache_control"),
        ({"ChatBedrock"}, "anthropic.claude-v5", "cache_control"),
        ({"ChatBedrock"}, "meta.llama4", None),
        ({"ChatBedrockConverse"}, "us.anthropic.claude-v5", "cache_point"),
        ({"ChatBedrockConverse"}, "mistral.large", None),
        ({"ChatOpenRouter"}, "anthropic/claude", "cache_control"),
        ({"ChatOpenAI", "BaseChatOpenAI"}, "gpt", None),
        ({"ChatGoogleGenerativeAI"}, "gemini", None),
    ],
)
def test_each_class_gets_the_mark_of_its_provider(classes: set[str], model: str, mark: str | None) -> None:
    assert mark_for(classes, model) == mark
    assert mark_for({"ChatOpenAI"}, "x", "https://openrouter.ai/api/v1") == "cache_control"


def test_converse_gets_a_point_of_its_own() -> None:
    (message,) = marked(request_of(Ask("Why?", prefix=[HumanMessage(TEXT)])), "cache_point")
    assert message["content"][1] == {"cachePoint": {"type": "default"}}


@step("answer")
def ask(state: State) -> Ask[str]:
    return Ask(f"Question {state.number}?", prefix=TEXT)


@step("structured")
def fill(state: State) -> Ask[Answer]:
    return Ask(f"Question {state.number}?", prefix=[HumanMessage(TEXT)])


@pytest.mark.parametrize(
    ("provider", "client", "marks", "names"),
    [
        ("openai", "langchain", False, True),
        ("openai", "http", False, True),
        ("openrouter", "http", True, False),
        ("deepseek", "http", False, False),
        ("vllm", "http", False, False),
    ],
)
async def test_each_provider_gets_what_it_wants(
    provider: str, client: str, marks: bool, names: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{provider.upper()}_API_KEY", "k")
    with CachingServer(0, marks=marks) as server:
        spec = server.spec(provider=provider, client=client)
        with using(spec):
            for number in range(3):
                await ask.answer(State(number=number))
        bodies = server.bodies
    assert [("cache_control" in json.dumps(body)) for body in bodies] == [marks] * 3
    keys = {body.get("prompt_cache_key") for body in bodies}
    assert len(keys) == 1
    assert (keys != {None}) == names
    if marks:
        assert server.cached == 2 * (len("[]<|system|>" + TEXT) // CHARS)
    else:
        assert bodies[0]["messages"][0] == {"role": "system", "content": TEXT}


async def test_a_schema_in_the_prompt_stands_behind_the_prefix() -> None:
    with CachingServer(0) as server:
        with using(server.spec(structured="prompt")):
            for number in range(2):
                with pytest.raises(Exception, match="no valid Answer"):
                    await fill.answer(State(number=number))
        first = server.bodies[0]["messages"][0]
    assert first["role"] == "user"
    assert first["content"].startswith(f"{TEXT}\n\nQuestion 0?")
    assert "JSON schema" in first["content"]


def test_anthropics_class_marks_the_end_of_the_prefix() -> None:
    chat = ChatAnthropic(model_name="claude-sonnet-5", api_key=SecretStr("k"), base_url="http://127.0.0.1:9")
    request = request_of(Ask("Why?", "Be exact.", prefix=TEXT))
    payload = chat._get_request_payload([dict(m) for m in marked(request, "cache_control")])
    assert payload["system"] == [
        {"type": "text", "text": TEXT, **MARKED},
        {"type": "text", "text": "\n\nBe exact."},
    ]


async def test_the_mark_reaches_anthropics_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with Anthropic() as server, using(server.spec(timeout_s=60)):
        await ask.answer(State(number=1))
        await fill.answer(State(number=2))
    system, structured = (body["raw"] for body in server.bodies)
    assert system["system"] == [{"type": "text", "text": TEXT, **MARKED}]
    assert structured["messages"][0]["content"][0] == {"type": "text", "text": TEXT, **MARKED}


async def test_an_openai_class_at_openrouter_gets_marks_and_elsewhere_none() -> None:
    seen = []
    for host in ("openrouter.ai", "127.0.0.1"):
        with CachingServer(0) as server:
            chat = ChatOpenAI(model="m", api_key=SecretStr("k"), base_url=server.url)
            chat.openai_api_base = server.url.replace("127.0.0.1", host)
            with using(chat):
                await ask.answer(State())
            seen.append("cache_control" in json.dumps(server.bodies))
    assert seen == [True, False]


def test_a_question_that_is_put_otherwise_keeps_its_prefix() -> None:
    for prefix in ("user", "image"):
        request = request_of(Ask("Why?", prefix=PREFIXES[prefix]))
        other = _reworded(request.messages, "When?", request.prefix)
        assert front_of(Request(other, prefix=request.prefix)) == front_of(request)
        assert "When?" in json.dumps(other)
        assert "Why?" not in json.dumps(other)
