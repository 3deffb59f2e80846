"""One image in many places: it is kept once, comes back byte for byte, and goes when nothing needs it."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import pytest
from hypothesis import given, settings, strategies as st
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.types import Command, interrupt

from stepgraph import Ask, ScriptedModel, Session, chain, effect, step, using
from stepgraph.evals.files.results import Header, Results
from stepgraph.state.blobs import Referring, blobs_of, described, named, references_in, referring, whole
from stepgraph.state.codec.decode import Decoder
from stepgraph.state.errors import StoreError
from stepgraph.state.journal.sqlite_store import SqliteStore
from stepgraph.state.serde import serialized
from stepgraph.tracing.export.langfuse import langfuse_attributes
from stepgraph.tracing.forks.fork import fork
from stepgraph.tracing.record.attributes import genai_attributes
from stepgraph.tracing.record.prune import delete_threads
from stepgraph.tracing.record.read_spans import read_spans
from stepgraph.tracing.record.reads import read_calls, records

from ...committed import until_the_dead_are_known

PNG = b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(300_000)
SMALL = b"\x89PNG\r\n\x1a\n" + random.Random(2).randbytes(1_200)


def url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@dataclass
class Photo:
    photo: str
    raw: bytes = b""
    messages: list[AnyMessage] = field(default_factory=list)
    seen: str = ""
    approved: str = ""
    told: str = ""


@step("seen")
def look(photo: Photo) -> Ask[str]:
    block = {"type": "image", "base64": photo.photo, "mime_type": "image/png"}
    return Ask([HumanMessage([{"type": "text", "text": "What is it?"}, block])])


def note(photo: Photo) -> dict[str, Any]:
    block = {"type": "image_url", "image_url": {"url": url(base64.b64decode(photo.photo))}}
    return {"messages": [HumanMessage([block])]}


@step("told")
def tell(photo: Photo) -> Ask[str]:
    return Ask([*photo.messages, HumanMessage(f"Tell of {photo.seen}.")])


def wait(photo: Photo) -> dict[str, Any]:
    return {"approved": interrupt({"shown": url(base64.b64decode(photo.photo))})}


app = chain(look, note, wait, tell).compile()


class Old(TypedDict, total=False):
    photo: str
    raw: bytes
    seen: str
    approved: str
    told: str


class Older:
    """The nodes under the names that they have in the file."""

    @staticmethod
    def look(photo: Old) -> Ask[str]:
        block = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + photo["photo"]}}
        return Ask([HumanMessage([block])])

    @staticmethod
    def tell(photo: Old) -> Ask[str]:
        return Ask("Tell of " + photo["seen"] + ".")

    @staticmethod
    def wait(photo: Old) -> dict[str, Any]:
        return {"approved": interrupt("fine?")}


def size_of(file: Path) -> int:
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file.stat().st_size


def many(file: Path) -> int:
    with Session(file) as session:
        return int(session.journal.query("SELECT count(*) AS n FROM blobs")[0]["n"])


def read(text: str) -> str:
    known = {blob.sha256: blob.data for blob in blobs_of(text)}
    return whole(str(text), known.__getitem__)


@pytest.mark.sqlite_file("the size of the file")
def test_two_runs_with_one_image_hold_it_once(tmp_path: Path) -> None:
    sizes = []
    for data in (PNG[:60], PNG):
        file = tmp_path / f"{len(data)}.sqlite"
        given = Photo(base64.b64encode(data).decode(), data)
        with Session(file) as session, using(ScriptedModel(["a kettle", "a tale"] * 2)):
            for thread in ("one", "two"):
                app.invoke(given, session.config(thread))
                result = app.invoke(Command(resume="yes"), session.config(thread))
                assert result["told"] == "a tale"
                state = app.get_state(session.config(thread)).values
                assert (state["photo"], state["raw"]) == (given.photo, data)
                assert state["messages"][0].content[0]["image_url"]["url"] == url(data)
        sizes.append(size_of(file))
    assert sizes[1] - sizes[0] < 1.3 * len(PNG)


def test_a_killed_run_pays_for_nothing_twice(tmp_path: Path) -> None:
    file = tmp_path / "runs.sqlite"
    script = f"""
import base64, os, signal
from dataclasses import dataclass
from stepgraph import Ask, ScriptedModel, Session, chain, step, using

@dataclass
class Photo:
    photo: bytes
    seen: str = ""
    told: str = ""

@step("seen")
def look(photo: Photo) -> Ask[str]:
    block = {{"type": "image", "base64": base64.b64encode(photo.photo).decode(), "mime_type": "image/png"}}
    return Ask(["What is it?", block])

def kill(photo: Photo) -> dict[str, object]:
    if os.environ.get("KILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    return {{}}

@step("told")
def tell(photo: Photo) -> Ask[str]:
    return Ask(f"Tell of {{photo.seen}}, {{len(photo.photo)}} bytes.")

app = chain(look, kill, tell).compile()
answers = ["a kettle"] if os.environ.get("KILL") else ["a tale"]
with Session({str(file)!r}) as session, using(ScriptedModel(answers)):
    given = Photo({SMALL!r}) if os.environ.get("KILL") else None
    print(app.invoke(given, session.config("t"))["told"])
"""
    killed = subprocess.run([sys.executable, "-c", script], env={**os.environ, "KILL": "1"}, check=False)
    assert killed.returncode == -signal.SIGKILL
    until_the_dead_are_known(file)
    environment = {name: value for name, value in os.environ.items() if name != "KILL"}
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
    )
    assert ended.stdout.strip() == "a tale"
    with Session(file) as session:
        calls = read_calls(session.journal, "t")
        assert [call["answer"] for call in calls] == ["a kettle", "a tale"]
        assert f"Tell of a kettle, {len(SMALL)} bytes." in calls[1]["messages"]


@pytest.mark.sqlite_file("a file of an older version")
def test_a_run_of_an_older_file_goes_on_without_asking_again(tmp_path: Path) -> None:
    file = tmp_path / "runs.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.executescript((Path(__file__).parent / "older" / "6-photo.sql").read_text())
        # As if it had been killed right after the answer, before anything was written with it.
        seconds = (
            "(SELECT checkpoint_id FROM checkpoints WHERE thread_id = 'photo' ORDER BY 1 LIMIT 1 OFFSET 1)"
        )
        database.execute(f"DELETE FROM writes WHERE thread_id = 'photo' AND checkpoint_id >= {seconds}")
        database.execute(f"DELETE FROM checkpoints WHERE thread_id = 'photo' AND checkpoint_id > {seconds}")
        database.commit()

    nodes = step("seen")(Older.look), Older.wait, step("told")(Older.tell)
    app = chain(*nodes).compile()
    with Session(file) as session, using(ScriptedModel(["a tale"])):
        assert app.invoke(None, session.config("photo"))["seen"] == "a kettle"
        result = app.invoke(Command(resume="yes"), session.config("photo"))
        assert (result["told"], result["raw"][:8]) == ("a tale", b"\x89PNG\r\n\x1a\n")
        assert session.spent("photo").calls == 2


def test_an_answer_with_an_image_comes_back_whole(tmp_path: Path) -> None:
    said = f"Here: ![it]({url(SMALL)})"

    def stop(photo: Photo) -> dict[str, Any]:
        return {"approved": interrupt("fine?")}

    ask = chain(look, stop).compile()
    with Session(tmp_path / "runs.sqlite") as session, using(ScriptedModel([said])):
        ask.invoke(Photo(base64.b64encode(SMALL).decode()), session.config("t"))
        new = fork(session, "t", call="look")
        assert ask.invoke(None, session.config(fork(session, "t")))["seen"] == said
        with using(ScriptedModel([said])):
            assert ask.invoke(None, session.config(new))["seen"] == said
        (call, *_) = read_calls(session.journal, "t")
        assert len(call["answer"]) < 300
        assert session.journal.whole(call["answer"]) == said


def test_what_no_thread_needs_goes(tmp_path: Path) -> None:
    file = tmp_path / "runs.sqlite"
    given = Photo(base64.b64encode(SMALL).decode(), SMALL)
    with Session(file) as session, using(ScriptedModel(["a kettle"] * 3)):
        for thread in ("one", "two"):
            app.invoke(given, session.config(thread))
        app.invoke(Photo(base64.b64encode(SMALL[:-1]).decode()), session.config("other"))
        forked = fork(session, "one")
        assert many(file) == 2
        delete_threads(session, ["one", "other"])
        assert many(file) == 1
        assert app.get_state(session.config(forked)).values["raw"] == SMALL
        delete_threads(session, ["two", forked])
        assert many(file) == 0


def test_what_an_effect_wrote_is_given_again(tmp_path: Path) -> None:
    done = []

    @effect(key=lambda photo: "k")
    def paint(photo: Photo) -> dict[str, Any]:
        done.append(1)
        return {"raw": SMALL, "photo": url(SMALL)}

    file = tmp_path / "runs.sqlite"
    with Session(file) as session:
        chain(paint).compile().invoke(Photo("x"), session.config("one"))
        delete_threads(session, ["one"])
        again = chain(paint).compile().invoke(Photo("x"), session.config("two"))
    assert (again["raw"], again["photo"], done) == (SMALL, url(SMALL), [1])


def test_the_export_holds_each_image_once(tmp_path: Path) -> None:
    given = Photo(base64.b64encode(SMALL).decode(), SMALL)
    with Session(tmp_path / "runs.sqlite") as session, using(ScriptedModel(["a kettle"])):
        app.invoke(given, session.config("one"))
        lines = [json.dumps(row) for row in records(session)]
    assert "".join(lines).count(given.photo) == 1
    last = json.loads(lines[-1])
    assert (last["record"], last["media_type"], last["size"]) == ("blob", "image/png", len(SMALL))


@pytest.mark.sqlite_file("a full disk and the spill beside the file")
async def test_answers_that_cannot_be_committed_are_saved_with_their_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = f"Here: {url(SMALL)}"
    file = tmp_path / "runs.sqlite"

    original = SqliteStore._write

    def full(self: SqliteStore, statements: Any, **more: Any) -> None:
        if any("INTO calls" in sql for sql, _ in statements):
            raise sqlite3.OperationalError("database or disk is full")
        original(self, statements, **more)

    with Session(file) as session, using(ScriptedModel([said])):
        monkeypatch.setattr(SqliteStore, "_write", full)
        with pytest.raises(StoreError):
            await chain(look).compile().ainvoke(Photo(base64.b64encode(PNG).decode()), session.config("t"))
        monkeypatch.undo()
        assert base64.b64encode(PNG) in (tmp_path / "runs.sqlite.spill").read_bytes()
        (tmp_path / "runs.sqlite.spill").rename(tmp_path / "later")
    (tmp_path / "later").rename(tmp_path / "runs.sqlite.spill")
    with Session(file) as session:
        (call,) = read_calls(session.journal, "t")
        assert session.journal.whole(call["answer"]) == said
        assert len(call["messages"]) < 1000
        assert url(PNG) in session.journal.whole(call["messages"])


TEXTS = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.binary(min_size=40, max_size=60).map(lambda data: base64.b64encode(SMALL + data).decode()),
        st.binary(max_size=60).map(url),
        st.just(referring(url(SMALL))),
        st.just(referring(url(SMALL)).replace("blob:", "blob:::")),
        st.sampled_from(["a" * 2000, "Ab1" * 1000, '{"data": "', '"', "data:image/svg+xml;base64,"]),
    ),
    max_size=6,
).map("".join)


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_any_text_comes_back_as_it_was(text: str) -> None:
    kept = referring(text)
    assert read(kept) == text
    if not references_in(text):
        assert named(named(text)) == named(text)


@settings(max_examples=40, deadline=None)
@given(
    st.recursive(st.one_of(TEXTS, st.binary(max_size=2000), st.integers(), st.none()), st.lists, max_leaves=6)
)
def test_any_state_comes_back_as_it_was(value: Any) -> None:
    packed = serialized([value, SMALL, url(SMALL)], refer=True)
    known = {blob.sha256: blob.data for blob in blobs_of(packed)}
    assert Decoder(read_blob=known.__getitem__).value(bytes(packed)) == [value, SMALL, url(SMALL)]
    assert packed.count(SMALL) == 0


@pytest.mark.parametrize(
    "text", ["word " * 2000, "x" * 5000, "0123456789abcdef" * 200, "A" * 4096, "/" * 999]
)
def test_text_without_images_stays_as_it_is(text: str) -> None:
    assert not isinstance(referring(text), Referring)


@pytest.mark.parametrize("zeros", [0, 3_000])
def test_data_of_no_known_kind_is_kept_by_itself(zeros: int) -> None:
    """Whatever it begins with: silence is many zeros, which are many A in base64."""
    data = bytes(zeros) + random.Random(3).randbytes(3_000)
    kept = referring(base64.b64encode(data).decode())
    assert isinstance(kept, Referring)
    assert [blob.data for blob in kept.blobs] == [data]


def test_a_reader_is_told_what_an_image_is() -> None:
    told = described(json.dumps({"url": url(PNG)}))
    assert told.startswith('{"url": "[image/png, 300 kB, sha256 ')
    assert len(told) < 100


def test_traces_and_results_say_what_an_image_is_and_hold_none(tmp_path: Path) -> None:
    drawn = {"type": "image_url", "image_url": {"url": url(SMALL)}}
    picture = AIMessage([{"type": "text", "text": "Here."}, drawn])
    given = Photo(base64.b64encode(SMALL).decode(), SMALL)
    with Session(tmp_path / "runs.sqlite") as session, using(ScriptedModel([picture])):
        app.invoke(given, session.config("one"))
        spans = read_spans(session.journal.query, "one")
    for attributes in (genai_attributes, langfuse_attributes):
        sent = json.dumps([attributes(span) for span in spans], ensure_ascii=False)
        assert given.photo[:200] not in sent
        assert ";sha256=" not in sent
        assert sent.count("[image/png, 1 kB, sha256 ") >= 3
    header = Header("r", "s", "f", {}, 1, None, None, {}, (), 0.95)
    Results(tmp_path / "results.jsonl", header).append({"output": {"photo": given.photo}})
    assert given.photo not in (tmp_path / "results.jsonl").read_text()


@pytest.mark.parametrize(
    "begin", ["Bearer ", "sk-", "ghp_", "eyJhbGciOiJSUzI1NiJ9.", "-----BEGIN PRIVATE KEY-----"]
)
def test_no_long_key_is_taken_for_an_image(tmp_path: Path, begin: str) -> None:
    secret = base64.b64encode(random.Random(8).randbytes(1_500)).decode().replace("+", "a").replace("/", "b")
    end = (
        ".c2ln"
        if begin.startswith("eyJ")
        else "-----END PRIVATE KEY-----"
        if begin[0] == "-"
        else " and so on"
    )

    @step("seen")
    def ask(photo: Photo) -> Ask[str]:
        return Ask(f"Use {begin}{secret}{end}")

    with Session(tmp_path / "runs.sqlite") as session, using(ScriptedModel(["done"])):
        chain(ask).compile().invoke(Photo(""), session.config("t"))
        (call,) = read_calls(session.journal, "t")
        assert "[key]" in session.journal.whole(call["messages"])
    assert many(tmp_path / "runs.sqlite") == 0
