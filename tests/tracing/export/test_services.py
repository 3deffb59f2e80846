"""Phoenix, Braintrust, Datadog and Helicone, set up as docs/tracing.md says, get what they ask for.

Each is what the service's own pages said on 2026-11-27. No key is left anywhere.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Ask, Session, agent, chain, step, using
from stepgraph.errors import ModelError
from stepgraph.state.settings_file import read_tables
from stepgraph.tracing.export.live import Tracing
from stepgraph.tracing.export.outbox import push
from stepgraph.tracing.export.settings import TracingSettings, read_settings

from ...servers import Answer, ChatServer, Fault
from ..receivers import Receiver, attributes

PAGE = Path(__file__).parents[3] / "docs" / "tracing.md"
FENCES = dict(re.findall(r'```toml title="(\w+)\.toml"\n(.*?)```', PAGE.read_text(encoding="utf-8"), re.S))
SECRET = "zk-4711-abcdef-of-nobody"
# The address and the headers that each service asks for.
WANTED = {
    "phoenix": ("/v1/traces", {"authorization": f"Bearer {SECRET}", "x-project-name": "letters"}),
    "braintrust": (
        "/otel/v1/traces",
        {"authorization": f"Bearer {SECRET}", "x-bt-parent": "project_name:letters"},
    ),
    "datadog": ("/v1/traces", {"dd-api-key": SECRET, "dd-otlp-source": "llmobs"}),
}


@dataclass
class Question:
    word: str = "tea"
    answer: str = ""


def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} is a plant, say the letters"


@step("answer")
def ask(question: Question) -> Ask[str]:
    return Ask(f"What is {question.word}?", system="You are brief.")


GRAPH = chain(agent(ask, tools=[look_up], name="helper"), name="desk").compile()
ANSWERS = [
    Answer("", tool_calls=(("look_up", '{"word": "tea"}'),), input_tokens=70, output_tokens=7),
    Answer("A plant.", input_tokens=90, output_tokens=9),
]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LANGFUSE_PUBLIC_KEY", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("PHOENIX_API_KEY", "BRAINTRUST_API_KEY", "DD_API_KEY"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("OPENAI_API_KEY", "zk-0815-of-openai-nobody")
    monkeypatch.setenv("HELICONE_AUTH", f"Bearer {SECRET}")


def settings_of(service: str, receiver: Receiver, folder: Path) -> TracingSettings:
    """Return the settings that the page says, with the service's host here."""
    text = re.sub(r'url = "https?://[^/]+', f'url = "{receiver.url}', FENCES[service])
    (folder / "stepgraph.toml").write_text(text, encoding="utf-8")
    return read_settings(folder)


def sent(service: str, server: ChatServer, receiver: Receiver, folder: Path) -> list[dict[str, Any]]:
    server.will(*ANSWERS)
    tracing = Tracing(settings_of(service, receiver, folder))
    with using(server.spec(retries=0)), Session(folder / "runs.sqlite", tracing=tracing) as session:
        GRAPH.invoke(Question(), session.config("t"))
    assert tracing.problems == {}
    return [attributes(span) for span in receiver.spans]


@pytest.mark.parametrize("service", WANTED)
def test_each_service_gets_what_its_pages_ask_for(
    service: str, server: ChatServer, receiver: Receiver, tmp_path: Path
) -> None:
    found = sent(service, server, receiver, tmp_path)
    path, wanted = WANTED[service]
    traces = [(at, headers) for at, headers, _ in receiver.requests if at.endswith("/v1/traces")]
    assert traces
    for at, headers in traces:
        told = {name.lower(): value for name, value in headers.items()}
        assert at == path
        assert told["content-type"] == "application/x-protobuf"
        assert wanted.items() <= told.items()

    calls = [facts for facts in found if facts.get("gen_ai.operation.name") == "chat"]
    first, second = sorted(calls, key=lambda facts: facts["gen_ai.usage.input_tokens"])
    for facts in calls:
        assert facts["gen_ai.provider.name"]
        assert facts["gen_ai.request.model"] == "served"
        assert facts["openinference.span.kind"] == "LLM"
        assert json.loads(facts["gen_ai.system_instructions"])[0]["content"] == "You are brief."
        assert json.loads(facts["gen_ai.tool.definitions"])[0]["name"] == "look_up"
    assert (second["gen_ai.usage.input_tokens"], second["gen_ai.usage.output_tokens"]) == (90, 9)
    (part,) = json.loads(second["gen_ai.output.messages"])[0]["parts"]
    assert part == {"type": "text", "content": "A plant."}
    assert json.loads(first["gen_ai.input.messages"])[0]["role"] == "user"
    kinds = {facts.get("gen_ai.operation.name") for facts in found}
    assert {"invoke_workflow", "invoke_agent", "execute_tool"} <= kinds
    (tool,) = (facts for facts in found if facts.get("gen_ai.operation.name") == "execute_tool")
    assert tool["gen_ai.tool.call.result"] == "tea is a plant, say the letters", "a project's name is no key"


def test_braintrust_has_fields_for_what_no_convention_names(
    server: ChatServer, receiver: Receiver, tmp_path: Path
) -> None:
    found = sent("braintrust", server, receiver, tmp_path)
    (root,) = (facts for facts in found if facts["stepgraph.kind"] == "run")
    assert json.loads(root["braintrust.input_json"])["word"] == "tea"
    assert json.loads(root["braintrust.output_json"])["answer"] == "A plant."
    (tool,) = (facts for facts in found if facts.get("gen_ai.operation.name") == "execute_tool")
    assert json.loads(tool["braintrust.input_json"]) == {"word": "tea"}
    assert json.loads(tool["braintrust.output_json"]) == "tea is a plant, say the letters"
    assert not any("input.value" in facts for facts in found), "it would be kept twice"


def test_datadog_names_the_application_and_gets_deltas(
    server: ChatServer, receiver: Receiver, tmp_path: Path
) -> None:
    sent("datadog", server, receiver, tmp_path)
    (metrics,) = receiver.metrics
    assert metrics["gen_ai.client.token.usage"].histogram.aggregation_temporality == 1
    ((_, headers, body),) = (each for each in receiver.requests if each[0] == "/v1/metrics")
    assert {name.lower(): value for name, value in headers.items()}["dd-api-key"] == SECRET
    assert b"letters" in body


@pytest.mark.parametrize("status", [401, 500])
@pytest.mark.parametrize("service", WANTED)
def test_no_key_is_left_anywhere(
    service: str,
    status: int,
    server: ChatServer,
    receiver: Receiver,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.status = status
    server.will(Answer(f"Your key is {SECRET}."), Answer(f"Your key is {SECRET}."))
    settings = settings_of(service, receiver, tmp_path)
    tracing = Tracing(settings)
    with using(server.spec(retries=0)), Session(tmp_path / "runs.sqlite", tracing=tracing) as session:
        GRAPH.invoke(Question(), session.config("t"))
    with Session(tmp_path / "runs.sqlite") as session:
        receipts = push(session, settings.destinations)
        receiver.status = 200
        receipts += push(session, settings.destinations)
    assert str(status) in str(tracing.problems)
    assert receiver.spans
    said = [repr(settings), repr(receipts), repr(tracing.problems), caplog.text, *capfd.readouterr()]
    assert not [text for text in said if SECRET in text]
    kept = [*tmp_path.glob("runs.sqlite*"), tmp_path / "stepgraph.toml"]
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]
    assert not [body for _, _, body in receiver.requests if SECRET.encode() in body]


async def test_helicone_stands_between(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stepgraph.toml").write_text(
        FENCES["helicone"].replace("https://oai.helicone.ai/v1", server.url), encoding="utf-8"
    )
    model = read_tables(tmp_path / "stepgraph.toml")["models"]["default"]
    server.will(Answer("A plant."), Fault(401, json.dumps({"error": {"message": f"bad key {SECRET}"}})))
    with using(model), Session(tmp_path / "runs.sqlite") as session:
        result = await chain(ask).compile().ainvoke(Question(), session.config("t"))
        with pytest.raises(ModelError) as caught:
            await chain(ask).compile().ainvoke(Question("rum"), session.config("u"))
    assert result["answer"] == "A plant."
    for headers in server.headers:
        assert headers["Authorization"] == "Bearer zk-0815-of-openai-nobody"
        assert headers["Helicone-Auth"] == f"Bearer {SECRET}"
        assert headers["Helicone-Property-App"] == "letters"
    assert SECRET not in str(caught.value)
    with Session(tmp_path / "runs.sqlite") as session:
        assert SECRET not in str(session.journal.query("SELECT * FROM calls"))
