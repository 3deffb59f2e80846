"""Runs from Langfuse: what is on record here is that run, anything else has its input and its output."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, run, step, using
from stepgraph.errors import InputError
from stepgraph.evals.langfuse.imports import import_dataset, import_export
from stepgraph.evals.replays.replay import replay
from stepgraph.providers.model import Request
from stepgraph.tracing.record.read_spans import read_spans

from ..langfuse_server import LangfuseServer


@dataclass
class Mail:
    body: str
    reply: str = ""


@step("reply")
def answer(mail: Mail) -> Ask[str]:
    return Ask(f"Answer {mail.body}")


graph = chain(answer, name="mails").compile()


@pytest.fixture
def traces(session: Session) -> list[dict[str, Any]]:
    """Two runs that are on record here, and one that is not, as an export has them."""
    with using(ScriptedModel(["one", "two"])):
        for thread in ("a", "b"):
            run(graph, Mail("tea"), session, thread)
    session.journal.flush()
    trace = read_spans(session.journal.query, "b")[0].trace.id
    return [
        {"id": "x1", "sessionId": "a", "input": {"body": "tea"}, "output": {"body": "tea", "reply": "one"}},
        {"id": trace, "input": json.dumps({"body": "tea"}), "output": None},
        {
            "id": "x3",
            "input": {"body": "rain"},
            "output": {"reply": "Rain!"},
            "timestamp": "2026-11-20T10:00:00Z",
        },
    ]


def _text(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def written(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    if path.suffix == ".json":
        whole = {"data": rows, "meta": {}} if path.stem == "answer" else rows
        path.write_text(json.dumps(whole, indent=1), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["id", "sessionId", "timestamp", "input", "output"])
            writer.writeheader()
            for row in rows:
                writer.writerow({name: _text(value) for name, value in row.items()})
    return path


@pytest.mark.parametrize("name", ["traces.json", "answer.json", "traces.jsonl", "traces.csv"])
def test_an_export_is_replayed(
    session: Session, traces: list[dict[str, Any]], tmp_path: Path, name: str
) -> None:
    path = written(tmp_path / name, traces)
    threads = import_export(session, path)
    assert threads == ["a", "b", "langfuse/x3"] == import_export(session, path)
    model = ScriptedModel(["Rain."])
    with using(model):
        report = replay(graph, session, threads=threads)
    assert len(model.asks) == 1  # that which is not on record
    differ = {case.origin: dict(case.differs) for case in report.cases}
    assert differ == {"a": {}, "b": {}, "langfuse/x3": {"reply": ("Rain!", "Rain.")}}
    with using(model):
        report = replay(graph, session, "graph=mails")
    assert [case.origin for case in report.cases] == ["a", "b"]  # what was imported is taken only by name


def test_the_items_of_a_dataset_are_replayed(session: Session) -> None:
    with LangfuseServer() as server:
        client = server.project().client
        assert client is not None
        for number in range(3):
            client.api.dataset_items.create(
                dataset_name="mails",
                id=f"i{number}",
                input={"body": f"mail {number}"},
                expected_output={"reply": "1"},
            )
        server.page = 2
        threads = import_dataset(session, client, "mails")
        with using(ScriptedModel(["0", "1", "2"])):
            report = replay(graph, session, threads=threads, jobs=1)
    assert [dict(case.differs) for case in report.cases] == [{"reply": ("1", "0")}, {}, {"reply": ("1", "2")}]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "holds no runs"),
        ("[1]", "row 1: expected a trace"),
        ("[", "is no JSON"),
        ('[{"id": "x", "input": "hello"}]', "expected the fields of the graph's state"),
    ],
)
def test_a_file_that_is_no_export_is_told(session: Session, tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "traces.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=told):
        import_export(session, path)


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_text_that_looks_like_an_image_of_the_record_is_a_text(
    session: Session, tmp_path: Path, suffix: str
) -> None:
    data = b"\x89PNG\r\n\x1a\n" + b"mine" * 400
    with using(ScriptedModel(["x"])):
        run(graph, Mail(f"data:image/png;base64,{base64.b64encode(data).decode()}"), session, "own")
    session.journal.flush()
    mine = f"see blob:image/png;size={len(data)};sha256={hashlib.sha256(data).hexdigest()}"
    bodies = [mine, "blob:image/png;size=9;sha256=" + "0" * 64, "long " * 40_000]
    rows = [{"id": f"x{n}", "input": {"body": body}} for n, body in enumerate(bodies)]
    path = written(tmp_path / f"traces.{suffix}", [{"output": None, **row} for row in rows])
    seen: list[str] = []

    def noted(request: Request, _: Any) -> str:
        seen.append(request.messages[-1]["content"])
        return "x"

    with using(ScriptedModel(noted)):
        report = replay(graph, session, threads=import_export(session, path), jobs=1)
    assert report.plan.left_out == ()
    assert len(report.cases) == 3
    assert all(any(body in text for text in seen) for body in bodies)
