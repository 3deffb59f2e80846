"""What the file keeps for readers is masked as told; what a resume needs is not touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, gate, refine, step, using
from stepgraph.state.errors import GateFailed
from stepgraph.state.masking import EVERYTHING
from stepgraph.tracing.export.live import Tracing
from stepgraph.tracing.export.settings import TracingSettings

from .receivers import Receiver

SECRET = "sk-proj-" + "0123456789abcdef0123"
MAIL = "ada@example.org"


@dataclass
class Note:
    text: str = f"{SECRET} of {MAIL}"
    draft: str = ""
    good: bool = False


@step("draft")
def write(note: Note) -> Ask[str]:
    return Ask(f"Write on {note.text}")


@step("good")
def judge(note: Note) -> Ask[bool]:
    return Ask(f"Is it good? {note.draft}")


def refuse(note: Note) -> str:
    return f"it names {MAIL} and {SECRET}"


app = chain(refine(write, judge, until=bool, rounds=1), gate(refuse)).compile()
COLUMNS = {
    "calls": "messages || coalesce(problem, '')",
    "node_runs": "coalesce(input, '') || coalesce(output, '') || coalesce(error, '')",
    "decisions": "coalesce(reason, '')",
    "invocations": "coalesce(input, '') || coalesce(output, '') || coalesce(error, '')",
}


def readable(session: Session) -> str:
    """Return all that the file keeps for readers only."""
    rows = [
        row["text"]
        for table, columns in COLUMNS.items()
        for row in session.journal.query(f"SELECT {columns} AS text FROM {table}")
    ]
    return "\n".join(rows)


def go(session: Session) -> None:
    answers = [f"Mail {MAIL} about {SECRET}", f"no, {MAIL}", True]
    with using(ScriptedModel(answers)), pytest.raises(GateFailed):
        app.invoke(Note(), session.config("t"))


def test_keys_never_lie_in_what_is_kept_for_readers(session: Session) -> None:
    go(session)
    kept = readable(session)
    assert SECRET not in kept
    assert "[key]" in kept
    assert MAIL in kept
    (call,) = session.journal.query("SELECT answer FROM calls WHERE step = 'write'")
    assert SECRET in call["answer"]  # a resume replays it


def test_personal_data_is_masked_in_the_file_where_that_is_set(tmp_path: Path) -> None:
    settings = TracingSettings(stored_mask=EVERYTHING)
    with Session(tmp_path / "runs.sqlite", tracing=Tracing(settings)) as session:
        go(session)
        kept = readable(session)
    assert MAIL not in kept
    assert "[email]" in kept


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_nothing_of_it_is_sent(tmp_path: Path, receiver: Receiver) -> None:
    with Session(tmp_path / "runs.sqlite", tracing=Tracing(receiver.settings())) as session:
        go(session)
    sent = b"".join(body for _, _, body in receiver.requests)
    assert sent
    assert MAIL.encode() not in sent
    assert SECRET.encode() not in sent
    assert b"sk-lf-test" not in sent
