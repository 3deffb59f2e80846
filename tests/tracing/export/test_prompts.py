"""Prompts from Langfuse's prompt management, over HTTP: found, kept, renewed, never waited for in vain."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.state.errors import DefinitionError, InputError
from stepgraph.tracing.export import prompt_cache as fetching, prompts
from stepgraph.tracing.export.outbox import push
from stepgraph.tracing.export.prompts import managed

from ...servers import unused_url
from ..receivers import Receiver, attributes


@dataclass
class Mail:
    body: str = "My tea is cold"
    team: str = ""


triage = managed("support/triage", fallback="Which team? {{body}}")


@step("team")
def classify(mail: Mail) -> Ask[str]:
    return Ask(triage(body=mail.body))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def _langfuse(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-test")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-test")
    monkeypatch.setenv("LANGFUSE_BASE_URL", receiver.url)
    prompts._shelf.cache_clear()
    get = fetching.PromptCache.get

    def patient(cache: fetching.PromptCache, key: Any, max_age_s: float, wait_s: float) -> Any:
        return get(cache, key, max_age_s, 60.0 if wait_s == prompts.WAIT_S else wait_s)

    monkeypatch.setattr(fetching.PromptCache, "get", patient)
    yield
    prompts._shelf.cache_clear()


def stored(template: Any, version: int = 3) -> dict[str, Any]:
    kind = "text" if isinstance(template, str) else "chat"
    common = {"version": version, "config": {}, "labels": ["production"], "tags": []}
    return {"type": kind, "name": "support/triage", "prompt": template, **common}


def until(condition: Any) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it did not come about")


def test_the_prompt_is_langfuses_and_its_version_is_in_the_trace(
    session: Session, receiver: Receiver
) -> None:
    receiver.prompts["support%2Ftriage"] = stored("Name the team for: {{ body }}")
    with using(model := ScriptedModel(["kitchen"])):
        chain(classify).compile().invoke(Mail(), session.config("t"))
    assert model.asks[0][1].messages[0]["content"] == "Name the team for: My tea is cold"
    assert receiver.asked == ["/api/public/v2/prompts/support%2Ftriage?label=production"]
    push(session, [receiver.langfuse()])
    (call,) = [a for s in receiver.spans if "langfuse.observation.usage_details" in (a := attributes(s))]
    assert call["langfuse.observation.prompt.name"] == "support/triage"
    assert call["langfuse.observation.prompt.version"] == 3
    assert call["langfuse.observation.metadata.prompt.label"] == "production"


def test_it_is_fetched_once_and_renewed_behind_the_scenes(receiver: Receiver) -> None:
    receiver.prompts["greet"] = stored("Hello {{name}}", 1)
    greet = managed("greet", fallback="Hi {{name}}")
    assert [greet(name="Ada") for _ in range(3)] == ["Hello Ada"] * 3
    assert len(receiver.asked) == 1
    impatient = managed("greet", fallback="Hi {{name}}", max_age_s=0)
    receiver.prompts["greet"] = stored("Welcome {{name}}", 2)
    receiver.hold.clear()
    assert impatient(name="Ada") == "Hello Ada", "nobody waits for the new one"
    receiver.hold.set()
    until(lambda: impatient(name="Ada") == "Welcome Ada")
    assert impatient(name="Ada").origin["version"] == 2


def test_a_version_is_asked_for_once_and_for_all(receiver: Receiver) -> None:
    receiver.prompts["greet"] = stored("Hello {{name}}", 7)
    greet = managed("greet", version=7, fallback="Hi {{name}}", max_age_s=0)
    assert [greet(name="Ada"), greet(name="Bo")] == ["Hello Ada", "Hello Bo"]
    assert receiver.asked == ["/api/public/v2/prompts/greet?version=7"]


def test_a_chat_prompt_becomes_messages(receiver: Receiver) -> None:
    chat = [{"role": "system", "content": "You are {{who}}."}, {"role": "user", "content": "{{question}}"}]
    receiver.prompts["talk"] = stored(chat)
    talk = managed("talk", fallback=[("system", "Be {{who}}."), ("user", "{{question}}")])
    question = Ask[str](talk(who="a cook", question="Tea?"))
    assert [(m["role"], m["content"]) for m in question.messages()] == [
        ("system", "You are a cook."),
        ("user", "Tea?"),
    ]
    assert question.origin == {"name": "talk", "label": "production", "version": 3}


def test_placeholders_for_messages_are_no_prompt(receiver: Receiver) -> None:
    chat = [{"role": "system", "content": "Hello"}, {"type": "placeholder", "name": "history"}]
    receiver.prompts["talk"] = stored(chat)
    messages = managed("talk", fallback=[("user", "Hi")])()
    assert [message.content for message in messages] == ["Hi"]
    assert "placeholders" in messages.origin["fallback"]


@pytest.mark.parametrize(
    ("status", "template", "why"),
    [
        (500, "Hello {{name}}", "answered 500"),
        (401, "Hello {{name}}", "answered 401"),
        (200, None, "no such prompt"),
        (200, "Hello {{name}} of {{town}}", "version 3 wants town"),
        (200, [{"role": "user", "content": "Hello"}], "is messages, the code expects text"),
    ],
)
def test_the_fallback_serves_and_says_why(receiver: Receiver, status: int, template: Any, why: str) -> None:
    receiver.status = status
    if template is not None:
        receiver.prompts["greet"] = stored(template)
    text = managed("greet", fallback="Hi {{name}}")(name="Ada")
    assert text == "Hi Ada"
    assert why in text.origin["fallback"]
    assert "version" not in text.origin


def test_without_keys_nobody_is_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANGFUSE_SECRET_KEY")
    assert managed("greet", fallback="Hi {{name}}")(name="Ada") == "Hi Ada"
    assert receiver.asked == []


def test_one_that_hangs_is_waited_for_once(receiver: Receiver) -> None:
    receiver.hold.clear()
    receiver.prompts |= {"one": stored("First"), "two": stored("Second")}
    first = managed("one", fallback="1", wait_s=0.05)
    second = managed("two", fallback="2", wait_s=3600)
    assert "did not answer within" in first().origin["fallback"]
    assert [second(), first()] == ["2", "1"], "while it hangs, nobody waits again"
    receiver.hold.set()
    until(lambda: (first(), second()) == ("First", "Second"))


def test_what_was_fetched_outlives_langfuse(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver.prompts["greet"] = stored("Hello {{name}}", 4)
    greet = managed("greet", fallback="Hi {{name}}", max_age_s=0)
    assert greet(name="Ada") == "Hello Ada"
    receiver.status = 503
    shelf = prompts._shelf(("pk-lf-test", "sk-lf-test", receiver.url))
    greet(name="Ada")
    until(lambda: shelf._down)
    assert greet(name="Ada").origin == {"name": "greet", "label": "production", "version": 4}


def test_after_a_failure_it_is_tried_again(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "AGAIN_S", 0.0)
    receiver.status = 500
    greet = managed("greet", fallback="Hi")
    assert greet() == "Hi"
    receiver.status = 200
    receiver.prompts["greet"] = stored("Hello")
    until(lambda: greet() == "Hello")


def test_nobody_there(session: Session, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    unreachable = unused_url()
    monkeypatch.setenv("LANGFUSE_BASE_URL", unreachable.removesuffix("/v1"))
    with using(ScriptedModel(["kitchen"])):
        chain(classify).compile().invoke(Mail(), session.config("t"))
    url = unreachable.removesuffix("/v1")
    assert prompts._shelf(("pk-lf-test", "sk-lf-test", url))._down, "nobody waits for it again"
    push(session, [receiver.langfuse()])
    (call,) = [a for s in receiver.spans if "langfuse.observation.usage_details" in (a := attributes(s))]
    assert "langfuse.observation.prompt.version" not in call
    assert "cannot be reached" in call["langfuse.observation.metadata.prompt.fallback"]


def test_a_new_version_is_the_same_question_if_it_says_the_same(session: Session, receiver: Receiver) -> None:
    """What is asked decides whether the journal's answer serves, not who wrote it."""
    receiver.prompts["support%2Ftriage"] = stored("Which team? {{body}}")
    found = classify.request(Mail())
    prompts._shelf.cache_clear()
    receiver.prompts.clear()
    fallback = classify.request(Mail())
    assert found.params() == fallback.params()
    assert found.messages == fallback.messages
    assert found.prompt != fallback.prompt


def test_mistakes_are_told_at_once() -> None:
    with pytest.raises(InputError, match=r"wants {{body}}.*Did you mean 'boddy'"):
        triage(boddy="x")
    with pytest.raises(DefinitionError, match="not both"):
        managed("a", fallback="x", label="production", version=1)
    with pytest.raises(DefinitionError, match="needs a name"):
        managed("a", fallback="")
