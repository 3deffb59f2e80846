"""What is sent twice, too late, or in part masked: nothing happens twice, nor is written unmeant."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path
from threading import Thread

import pytest

from stepgraph import Session, chain, effect
from stepgraph.runners.run import run
from stepgraph.state.journal.records import Description
from stepgraph.state.masking import NO_KEYS
from stepgraph.ui.forms import entries_of, typed_value
from stepgraph.ui.launching import LONGEST, _problem
from stepgraph.ui.records import Reader
from stepgraph.ui.repeats import Repeats
from stepgraph.ui.texts import as_meant

from .conftest import Served
from .deciding import GRAPH, Recording, begin, hidden, until_ended
from .runs import Post

KEY = "sk-" + "a1B2" * 8


def form_for(page: str, action: str) -> dict[str, str]:
    number = page.split('<form method="post"').index(
        next(p for p in page.split('<form method="post"') if p.startswith(f' action="{action}"'))
    )
    return hidden(page, number - 1)


def test_a_form_that_is_sent_twice_begins_one_run(desk: Served, launcher: Recording, tmp_path: Path) -> None:
    begin(desk.session, tmp_path, "one")
    page = desk.get("/run", thread="one").text
    form = form_for(page, "/again")
    first, second = (desk.post("/again", form, calls="3").headers["location"] for _ in range(2))
    assert first == second
    assert desk.post("/again", form, calls="4").headers["location"] != first
    fresh = form_for(desk.get("/run", thread="one").text, "/again")
    assert desk.post("/again", fresh, calls="3").headers["location"] != first
    assert len(launcher.wait_for(3)) == 3


def test_those_that_come_at_once_wait_for_the_first() -> None:
    repeats: Repeats[int] = Repeats()
    done: list[int] = []

    def act() -> int:
        done.append(1)
        return len(done)

    pairs = [("once", Repeats.mark())]
    threads = [Thread(target=repeats.once, args=(pairs, act)) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert done == [1]
    with pytest.raises(ZeroDivisionError):
        repeats.once([("once", "x")], lambda: 1 // 0)
    assert repeats.once([("once", "x")], act) == 2  # what failed is done again
    assert repeats.once([], act) == 3


def test_a_run_goes_on_once_at_a_time(desk: Served, launcher: Recording, tmp_path: Path) -> None:
    begin(desk.session, tmp_path, "one")
    form = {**hidden(desk.get("/run", thread="one").text)}
    assert desk.post("/resume", form).status == 303
    assert desk.post("/resume", form).status == 409
    assert len(launcher.wait_for(1)) == 1


def test_what_is_said_of_one_start_of_an_effect_does_not_hold_for_the_next(desk: Served) -> None:
    @effect(key=lambda post: "mail-1")
    def send(post: Post, key: str) -> dict[str, str]:
        raise ConnectionError("line cut")

    graph = chain(send).compile()
    with pytest.raises(ConnectionError):
        run(graph, Post(), desk.session, "one")
    (first,) = desk.session.undecided_effects()
    old = {**hidden(desk.get("/run", thread="one").text), "happened": "no"}
    desk.session.journal.write(
        [("UPDATE effects SET started_at = started_at + 1 WHERE key = ?", (first.key,))]
    )
    assert desk.post("/effect", old).status == 409
    assert len(desk.session.undecided_effects()) == 1
    assert desk.post("/effect", hidden(desk.get("/run", thread="one").text)).status == 303


def test_a_key_in_an_input_is_on_no_form_and_stays_what_it_is(
    desk: Served, launcher: Recording, tmp_path: Path
) -> None:
    (tmp_path / "desk.py").write_text(GRAPH)
    given = {"text": f"It is {KEY}", "why": "tea"}
    desk.session.journal.queue_run("one", Description(f"{tmp_path / 'desk.py'}:desk", {}, given))
    page = desk.get("/run", thread="one").text
    assert KEY not in page
    shown = unescape(page.split('name="input"')[1].split(">\n", 1)[1].partition("</textarea>")[0])
    assert json.loads(shown) == {"text": "It is [key]", "why": "tea"}
    for typed, meant in ((shown, given), (shown.replace("tea", "coffee"), {**given, "why": "coffee"})):
        new = desk.post("/again", form_for(page, "/again"), input=typed.replace("\n", "\r\n"))
        thread = new.headers["location"].rpartition("=")[2]
        (row,) = desk.session.journal.query("SELECT input FROM runs WHERE thread_id = ?", (thread,))
        assert json.loads(row["input"]) == meant


def test_what_was_left_as_it_was_shown_is_what_it_stands_for() -> None:
    assert as_meant({"a": [1], "b": "[key]", "c": 2}, {"a": [1], "b": "[key]"}, {"a": [1], "b": KEY}) == {
        "a": [1],
        "b": KEY,
        "c": 2,
    }
    assert as_meant("x", {"a": 1}, {"a": 2}) == "x"


def test_what_a_form_cannot_show_is_not_changed_by_it() -> None:
    fields = {name: {"type": "string"} for name in ("to", "note")}
    schema = {"type": "object", "properties": fields, "required": list(fields)}
    value = {"to": "https://ada:secret@example.org", "note": "a\u202eb"}
    shown = {entry.name: entry.shown for entry in entries_of(schema, value, "it")}
    given = {"value.to": "https://[user]@example.org", "value.note": "a\N{REPLACEMENT CHARACTER}b"}
    assert shown.keys() == given.keys()
    assert typed_value(schema, value, given, "it") == value
    assert typed_value(schema, value, {**given, "value.note": "ab"}, "it") == {**value, "note": "ab"}
    numbers = {"type": "integer"}
    assert typed_value(numbers, 1, {"value": "1" + "0" * 400}, "it") == 10**400


def test_what_a_process_complains_of_has_no_key() -> None:
    for problem in (
        _problem(f"Error: refused {KEY}", ""),
        _problem("", json.dumps({"error": KEY})),
        _problem(KEY, ""),
    ):
        assert "[key]" in problem
        assert KEY not in problem
    assert NO_KEYS.text(KEY) == "[key]"
    assert len(_problem(f"Error: {'a word ' * 100_000}", "")) <= LONGEST + 1


def test_what_was_typed_is_not_kept_once_it_is_done(desk: Served, launcher: Recording) -> None:
    launcher.may_end.set()
    launcher.begin("one", ["fork", "--prompt=" + "x" * 100], "told")
    assert until_ended(launcher, "one").arguments == ()


def test_what_a_run_has_so_far_shows_no_key(session: Session) -> None:
    def note(post: Post) -> dict[str, str]:
        return {"draft": f"It is {KEY}"}

    def fail(post: Post) -> dict[str, str]:
        raise ConnectionError("line cut")

    with pytest.raises(ConnectionError):
        run(chain(note, fail).compile(), Post(), session, "one")
    reader = Reader(session)
    assert dict(reader.so_far(reader.run("one")))["draft"].whole == "It is [key]"


@pytest.mark.parametrize("place", ["x", "1_x", "9" * 30 + "_1", "1_" + "9" * 30, "nan_1", "inf_1"])
def test_a_place_that_no_list_has_is_told(served: Served, place: str) -> None:
    answer = served.get("/", after=place)
    assert answer.status == 404
    assert "is no place in the list of runs" in answer.text
