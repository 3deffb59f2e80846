"""LangChain chat models under wrappers: taken where they ask the very same, else refused with what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_openai import ChatOpenAI
from pydantic import Field

from stepgraph import Ask, Budget, Session, chain, step, using
from stepgraph.providers.stack.roles import as_model
from stepgraph.state.errors import DefinitionError


class Recording(BaseChatModel):
    """Keeps the arguments, tags and metadata of each call."""

    model_name: str = "recording"
    temperature: float = 0.5
    fails: bool = False
    seen: list[Any] = Field(default_factory=list, exclude=True)

    @property
    def _llm_type(self) -> str:
        return "recording"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        tags = run_manager.tags if run_manager else None
        self.seen.append({**kwargs, "stop": stop, "tags": tags or [], "temperature of": self.temperature})
        if self.fails:
            raise TimeoutError("not now")
        usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
        text = f"{self.model_name} at {self.temperature}"
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text, usage_metadata=usage))])


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""


@step("draft")
def draft(post: Post) -> Ask[str]:
    return Ask(post.topic)


app = chain(draft).compile()
FIELD = ConfigurableField(id="heat")


def identity(model: Any) -> str:
    return " | ".join(member.identity for member in as_model(model, "here").members)


def test_what_is_bound_goes_with_each_call_and_into_the_key(session: Session) -> None:
    model = Recording()
    bound = model.bind(stop=["END"], top_p=0.3).with_config(tags=["mine"], metadata={"team": "a"})
    for thread in ("one", "one-again", "plain"):
        with using(model if thread == "plain" else bound):
            app.invoke(Post(), session.config(thread, cache_s=100))
    assert [(call["stop"], call.get("top_p"), "mine" in call["tags"]) for call in model.seen] == [
        (["END"], 0.3, True),
        (None, None, False),
    ]
    rows = session.journal.query("SELECT source FROM calls ORDER BY started_at")
    assert [row["source"] for row in rows] == ["model", "cache", "model"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: m.bind(temperature=0.1),
        lambda m: m.bind(stop=["x"]),
        lambda m: m.bind(stop=["x"]).bind(top_p=1),
        lambda m: m.bind(model="another"),
        lambda m: m.with_fallbacks([Recording(model_name="second")]),
        lambda m: m.configurable_fields(temperature=FIELD).with_config(configurable={"heat": 0.9}),
        lambda m: Recording().with_fallbacks([m]),
    ],
)
def test_wrappers_that_change_answers_change_the_identity(wrap: Callable[[Any], Any]) -> None:
    wrapped = identity(wrap(Recording()))
    assert wrapped != identity(Recording())
    assert wrapped == identity(wrap(Recording()))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: m.with_config(tags=["a"]),
        lambda m: m.with_config(metadata={"a": 1}, run_name="x", callbacks=[]),
        lambda m: m.bind(),
        lambda m: m.bind(timeout=3),
        lambda m: m.configurable_fields(temperature=FIELD).with_config(configurable={"heat": 0.5}),
    ],
)
def test_wrappers_that_change_no_answer_do_not(wrap: Callable[[Any], Any]) -> None:
    assert identity(wrap(Recording())) == identity(Recording())


def test_no_key_that_is_bound_gets_into_the_identity() -> None:
    one, other = (identity(Recording().bind(api_key=key, extra={"token": 1})) for key in ("sk-1", "sk-2"))
    assert one == other


def test_fallbacks_are_asked_in_turn_and_each_is_on_record(session: Session) -> None:
    first, second = Recording(model_name="first", fails=True), Recording(model_name="second")
    with using(first.bind(top_p=0.1).with_fallbacks([second]).bind(stop=["END"])):
        assert app.invoke(Post(), session.config("t"))["draft"] == "second at 0.5"
    assert {(call["top_p"], *call["stop"]) for call in first.seen} == {(0.1, "END")}
    assert [(call.get("top_p"), call["stop"]) for call in second.seen] == [(None, ["END"])]
    rows = session.journal.query("SELECT DISTINCT model_asked, status FROM calls ORDER BY started_at")
    assert [(row["model_asked"], row["status"]) for row in rows] == [
        ("first", "failed"),
        ("second", "answered"),
    ]


def test_fallbacks_join_a_list_of_models() -> None:
    stack = as_model(
        [Recording(), Recording(model_name="a").with_fallbacks([Recording(model_name="b")])], "x"
    )
    assert [member.backend.name for member in stack.members] == ["recording", "a", "b"]


def test_configurable_fields_take_what_with_config_gave(session: Session) -> None:
    model = Recording().configurable_fields(temperature=FIELD)
    choice = Recording(model_name="a").configurable_alternatives(
        ConfigurableField(id="which"), default_key="a", b=Recording(model_name="b")
    )
    with using(model.with_config(configurable={"heat": 0.9})):
        assert app.invoke(Post(), session.config("t"))["draft"] == "recording at 0.9"
    with using(choice.with_config(configurable={"which": "b"})):
        assert app.invoke(Post(), session.config("u"))["draft"] == "b at 0.5"


def test_what_a_step_asks_wins_over_what_is_bound() -> None:
    @step("draft")
    def cool(post: Post) -> Ask[str]:
        return Ask(post.topic, temperature=0.0, max_tokens=5)

    model = Recording()
    with using(model.bind(temperature=0.7, max_completion_tokens=90, stop=["END"])):
        chain(cool).compile().invoke(Post())
    (call,) = model.seen
    assert (call["temperature"], call["max_tokens"], call["stop"]) == (0.0, 5, ["END"])
    assert "max_completion_tokens" not in call


@pytest.mark.parametrize(
    "wrap",
    [lambda m: m.bind(max_tokens=50), lambda m: m.bind(max_completion_tokens=50), lambda m: m],
)
def test_a_budget_reserves_the_models_own_limit(session: Session, wrap: Callable[[Any], Any]) -> None:
    class Limited(Recording):
        max_tokens: int = 50

    model = Limited()
    with using(wrap(model)):
        app.invoke(Post(), session.config("t", budget=Budget(tokens=1_000)))
    (call,) = session.journal.query("SELECT reserved FROM calls")
    assert json.loads(call["reserved"])["tokens"] < 200
    assert model.seen[0].get("max_tokens") in (None, 50)


@pytest.mark.parametrize(
    ("wrap", "told"),
    [
        (lambda m: m.configurable_fields(temperature=FIELD), r"with_config\(configurable=\{'heat': …\}\)"),
        (lambda m: m.configurable_fields(temperature=FIELD).bind(stop=["x"]), "'heat'"),
        (lambda m: m.with_fallbacks([m], exceptions_to_handle=(ValueError,)), '"on": '),
        (lambda m: m.with_fallbacks([m], exception_key="error"), '"models": '),
        (lambda m: m.with_retry(), "stepgraph retries"),
        (lambda m: m.with_listeners(on_start=print), "callbacks"),
        (lambda m: m.bind(tools=[]), r"agent\(…, tools="),
        (lambda m: m.bind(response_format={"type": "json_object"}), "Ask\\[YourType\\]"),
        (lambda m: m.with_fallbacks([m.with_retry()]), "retries"),
        (lambda m: ChatPromptTemplate.from_messages(["x"]) | m, "RunnableSequence .* give the chat model"),
        (lambda m: RunnableLambda(lambda x: x), "RunnableLambda"),
        (lambda m: app, "CompiledStateGraph|no chat model"),
    ],
)
def test_all_else_is_refused_with_what_to_do(wrap: Callable[[Any], Any], told: str) -> None:
    model = Recording()
    with pytest.raises(DefinitionError, match=f"(?s)^using.*{told}"), using(wrap(model)):
        pass
    assert model.seen == []


def test_bound_tools_of_openai_are_refused() -> None:
    model = ChatOpenAI(model="gpt-4o", api_key="x").bind_tools(
        [{"name": "look", "description": "", "parameters": {}}]
    )
    with pytest.raises(DefinitionError, match="agent"):
        as_model(model, "here")


def test_a_bound_model_is_the_one_that_is_named_and_priced() -> None:
    (member,) = as_model(ChatOpenAI(model="gpt-4o", api_key="x").bind(model="gpt-4o-mini"), "here").members
    assert member.backend.name == "gpt-4o-mini"
