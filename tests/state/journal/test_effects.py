"""The record of side effects: what started, what became of it, and what people decide about it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from stepgraph import Session
from stepgraph.errors import InputError
from stepgraph.state.journal import effects as module
from stepgraph.state.journal.effects import (
    EffectRecord,
    Started,
    begin_effect,
    decide_effect,
    end_effect,
    find_effect,
    forget_effect,
    is_of_an_earlier_input,
    leave_effect,
    lineage_of,
    open_effects,
    packed,
    unknown,
    unpacked,
)

NAMED = {"key": "k", "thread_id": "t", "path": "mail", "started_at": 5.0, "ended_at": 9.0}


class Clock:
    """A clock on which no moment comes twice, and which writes one date."""

    now = 1000.0

    def time(self) -> float:
        self.now += 1
        return self.now

    def localtime(self, at: float) -> float:
        return at

    def strftime(self, form: str, at: float) -> str:
        assert form == "%Y-%m-%d %H:%M:%S"
        return f"day {at:g}"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def effect(status: Any, result: Any = None, **more: Any) -> EffectRecord:
    text = None if result is None else json.dumps(result)
    return EffectRecord(**{**NAMED, "status": status, "result": text, **more})


@pytest.mark.parametrize(
    ("record", "to_decide", "error", "decision"),
    [
        (effect("started"), True, None, ""),
        (effect("started", {"error": "E: x"}), True, "E: x", ""),
        (effect("done", {"data": "", "by": "x", "error": "E"}), False, None, ""),
        (effect("done", {"update": {}}), True, None, "It was decided on day 9 that it happened."),
        (effect("done", {"by": "ada"}), True, None, "It was decided by ada on day 9 that it happened."),
        (effect("undone", {}), True, None, "It was decided on day 9 that it did not happen."),
        (effect("undone", {}, ended_at=None), True, None, ""),
    ],
    ids=["started", "failed", "ended", "happened", "by", "not-happened", "older"],
)
def test_a_record_tells_what_is_known(
    record: EffectRecord, to_decide: bool, error: str | None, decision: str
) -> None:
    assert (record.to_decide, record.error, record.decision) == (to_decide, error, decision)
    assert record.epoch is None


async def begin(session: Session, key: str = "k", *, again: bool = False, epoch: int | None = None) -> Any:
    return await begin_effect(session.journal, key, "t", "mail", again=again, epoch=epoch)


async def test_an_effect_starts_once_until_it_may_start_again(session: Session) -> None:
    first = await begin(session, epoch=3)
    assert first == Started("k", "t", 1001.0, 3)
    in_the_way = await begin(session)
    assert in_the_way == find_effect(session.journal, "k")
    assert in_the_way == EffectRecord("k", "t", "mail", "started", None, 1001.0, None, 3)
    again = await begin(session, again=True)
    assert again == Started("k", "t", 1003.0, None)
    await end_effect(session.journal, first, "{}")  # it is another start by now
    await end_effect(session.journal, again, '{"data": ""}')
    done = EffectRecord("k", "t", "mail", "done", '{"data": ""}', 1003.0, 1005.0, None)
    assert await begin(session) == await begin(session, again=True) == done
    assert find_effect(session.journal, "other") is None


async def test_what_did_not_happen_starts_anew(session: Session) -> None:
    await begin(session)
    decide_effect(session.journal, "k", happened=False, by="ada")
    assert isinstance(await begin(session), Started)
    assert find_effect(session.journal, "k") == EffectRecord("k", "t", "mail", "started", None, 1003, None)


@pytest.mark.parametrize(
    "changes",
    [{"key": "x"}, {"thread_id": "x"}, {"started_at": 7.0}, {"epoch": 7}],
    ids=lambda each: min(each),
)
async def test_only_who_started_it_last_says_what_became_of_it(
    session: Session, changes: dict[str, Any]
) -> None:
    mine = await begin(session, epoch=3)
    other = Started(**{"key": "k", "thread_id": "t", "started_at": 1001.0, "epoch": 3, **changes})
    before = find_effect(session.journal, "k")
    await leave_effect(session.journal, other, "E: x")
    await end_effect(session.journal, other, "{}")
    await forget_effect(session.journal, other)
    assert find_effect(session.journal, "k") == before
    await leave_effect(session.journal, mine, "E: x")
    left = find_effect(session.journal, "k")
    assert left is not None
    assert (left.error, left.status, left.ended_at) == ("E: x", "started", None)
    await forget_effect(session.journal, mine)
    assert find_effect(session.journal, "k") is None


async def test_open_effects_come_the_oldest_first(session: Session) -> None:
    started = [await begin(session, key) for key in "bca"]
    await end_effect(session.journal, started[1], '{"data": ""}')
    assert [each.key for each in open_effects(session.journal)] == ["b", "a"]


async def test_a_decision_says_who_made_it_and_what_was_written(session: Session) -> None:
    await begin(session)
    before = decide_effect(session.journal, "k", happened=True, update={"a": 1}, by="ada")
    assert before.status == "started"
    record = find_effect(session.journal, "k")
    assert record is not None
    assert (record.status, record.ended_at) == ("done", 1002.0)
    assert json.loads(record.result or "") == {"update": {"a": 1}, "by": "ada"}
    with pytest.raises(
        InputError, match=r"decided by ada on day 1002 that it happened\. Your decision was not"
    ):
        decide_effect(session.journal, "k", happened=False)
    decide_effect(session.journal, "k", happened=False, change=True)
    record = find_effect(session.journal, "k")
    assert record is not None
    assert (record.status, record.result) == ("undone", "{}")
    decide_effect(session.journal, "k", happened=True, change=True)
    record = find_effect(session.journal, "k")
    assert record is not None
    assert json.loads(record.result or "") == {"update": {}}


async def test_what_cannot_be_decided_is_refused(session: Session) -> None:
    started = await begin(session, "charge:1")
    with pytest.raises(InputError, match=r"'charge:2' is not on record\. Did you mean 'charge:1'"):
        decide_effect(session.journal, "charge:2", happened=True)
    with pytest.raises(InputError, match="did not happen wrote nothing"):
        decide_effect(session.journal, "charge:1", happened=False, update={"a": 1})
    with pytest.raises(InputError, match="started again, or it ended, since you looked"):
        decide_effect(session.journal, "charge:1", happened=True, started_at=7.0)
    assert [each.key for each in open_effects(session.journal)] == ["charge:1"]
    decide_effect(session.journal, "charge:1", happened=False, update={}, started_at=started.started_at)
    other = await begin(session, "charge:3")
    await end_effect(session.journal, other, '{"data": ""}')
    with pytest.raises(InputError, match="'charge:3' ended by itself"):
        decide_effect(session.journal, "charge:3", happened=True)


async def test_of_two_decisions_at_once_the_second_is_told_of_the_first(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(session)
    looks: list[EffectRecord | None] = []

    def find(journal: Any, key: str) -> EffectRecord | None:
        looks.append(find_effect(journal, key))
        if len(looks) == 1:
            monkeypatch.setattr(module, "find_effect", find_effect)
            decide_effect(journal, key, happened=True, by="ada")
        return looks[-1]

    monkeypatch.setattr(module, "find_effect", find)
    with pytest.raises(InputError, match=r"decided by ada on day 1002 that it happened"):
        decide_effect(session.journal, "k", happened=False, by="bob")


@pytest.mark.parametrize(
    ("path", "result", "told"),
    [
        ("mail", None, r"started on day 5 by mail in the thread 't', .* happened or not\. Look it up"),
        ("", {"error": "E: x"}, r"by a call in .* happened or not\. It failed with E: x\. Look it up"),
    ],
    ids=["started", "failed"],
)
def test_what_nobody_knows_is_told_with_how_to_decide_it(path: str, result: Any, told: str) -> None:
    error = unknown(effect("started", result, path=path, key="a b"))
    assert re.search(told, str(error))
    assert "stepgraph effect 'a b' --done" in str(error)
    assert error.key == "a b"


@pytest.mark.parametrize(
    ("changes", "began", "earlier"),
    [
        ({}, [9.5], True),
        ({}, [8.5], False),
        ({}, [9.0], False),
        ({}, [], False),
        ({}, [1.0, 9.5], True),
        ({}, [9.5, 1.0], False),  # of the last input, when it was first given
        ({"thread_id": "u"}, [9.5], False),
        ({"status": "undone"}, [9.5], False),
        ({"ended_at": None}, [9.5], False),
    ],
)
def test_an_effect_is_of_an_earlier_input_if_it_ended_before_that_of_now(
    session: Session, changes: dict[str, Any], began: list[float], earlier: bool
) -> None:
    sql = "INSERT INTO invocations (thread_id, trace, status, started_at) VALUES ('t', ?, 'done', ?)"
    session.journal.write([(sql, (trace, at + more)) for trace, at in enumerate(began) for more in (0, 100)])
    record = effect(**{"status": "done", "result": {"data": ""}, **changes})
    assert is_of_an_earlier_input(session.journal, record, "t") is earlier


def test_a_fork_is_of_the_line_of_the_first_thread(session: Session) -> None:
    names = "thread_id, parent_thread, status, started_at, updated_at"
    sql = f"INSERT INTO runs ({names}) VALUES (?, ?, 'done', 0, 0)"
    session.journal.write([(sql, pair) for pair in [("a", None), ("b", "a"), ("c", "b"), ("d", "gone")]])
    assert [lineage_of(session.journal, name) for name in ("a", "b", "c", "d", "e")] == [
        "a",
        "a",
        "a",
        "gone",
        "e",
    ]


def test_what_a_node_wrote_comes_back_exactly_and_what_a_person_told_as_data() -> None:
    serde = JsonPlusSerializer()
    update = {"at": datetime(2026, 11, 28, tzinfo=UTC), "text": "é"}
    text = packed(update, serde)
    shown = json.loads(text)["update"]
    assert (shown["text"], shown["at"][:10]) == ("é", "2026-11-28")
    assert unpacked(text, serde) == (update, True)
    assert unpacked('{"update": {"a": 1}, "by": "ada"}', serde) == ({"a": 1}, False)
    assert unpacked("{}", serde) == unpacked(None, serde) == ({}, False)
