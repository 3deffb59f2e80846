"""What threads have spent, asked for many at once, in a file and in Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.state.journal.records import Call, insert
from stepgraph.state.journal.spending import spent_and_cut
from stepgraph.state.statuses import CUT


@pytest.fixture(params=["file", "postgres_url"])
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Session]:
    file = request.param == "file"
    database: Any = tmp_path / "runs.sqlite" if file else request.getfixturevalue(request.param)
    with Session(database) as session:
        yield session


def call(number: int, thread: str, path: str = "write", **columns: Any) -> Call:
    row: dict[str, Any] = {
        "id": f"c{number}",
        "thread_id": thread,
        "task": f"{path}:1",
        "path": path,
        "step": path,
        "role": None,
        "request_hash": f"h{number}",
        "occurrence": 0,
        "attempt": 1,
        "status": "answered",
        "model_asked": "m",
        "messages": "[]",
        "params": "{}",
        "latency_s": 0.1,
        "started_at": 1.0,
        "answer": "yes",
        "cost_usd": 0.25,
        "input_tokens": 10,
        "cached_tokens": 4,
        "source": "model",
    }
    return Call(**{**row, **columns})


async def test_each_thread_has_what_it_and_its_parts_spent(session: Session) -> None:
    parts = (
        "INSERT INTO job_parts (thread_id, parent, task, place, first, items) VALUES (?, ?, 'x', 1, 0, '[]')"
    )
    session.journal.write(
        [
            (parts, ("part", "whole")),
            (parts, ("part of part", "part")),
            *map(
                insert,
                (
                    call(1, "one"),
                    call(2, "one", cost_usd=None),
                    call(3, "one", source="cache"),
                    call(4, "whole", "b", finish_reason=CUT),
                    call(5, "whole", "a", finish_reason=CUT, source="cache"),
                    call(6, "whole", "c", finish_reason=CUT, status="failed", cost_usd=None),
                    call(7, "part"),
                    call(8, "part of part", finish_reason=CUT),
                    call(9, "nobody's"),
                ),
            ),
        ]
    )
    one, again, whole, part, none = await asyncio.gather(
        *map(session.journal.spent_and_cut, ("one", "one", "whole", "part", "none"))
    )
    assert one == again
    assert (one[0].calls, one[0].known_usd, one[0].unknown, one[0].cached_tokens) == (2, 0.25, 1, 8)
    assert one[1] == ()
    assert (whole[0].calls, whole[0].known_usd, whole[0].cached_tokens) == (4, 0.75, 8)
    assert whole[1] == ("a", "b")
    assert (part[0].calls, part[0].cached_tokens, part[1]) == (2, 4, ())
    assert (none[0].calls, none[0].known_usd, none[1]) == (0, 0.0, ())


async def test_it_is_read_for_all_that_end_at_one_moment_at_once(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    async def aquery(sql: str, values: Any = ()) -> Any:
        asked.append(values)
        return await session.journal.aquery(sql, values)

    session.journal.write([insert(call(number, f"t{number}")) for number in range(9)])
    costs = await spent_and_cut(aquery, [f"t{number}" for number in range(9)])
    assert [cost.known_usd for cost, _ in costs] == [0.25] * 9
    assert len(asked) == 1
