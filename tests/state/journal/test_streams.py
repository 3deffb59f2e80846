"""What workers write for those who listen is heard once, in order, by each from where it began to listen."""

from __future__ import annotations

import json
from random import Random

import pytest

from stepgraph import Session
from stepgraph.state.journal.streams import AT_ONCE, Cursor, heard_since, last_written, written


@pytest.mark.parametrize("seed", range(3))
async def test_of_many_threads_all_is_heard_once_and_in_order(seed: int, session: Session) -> None:
    random, journal = Random(seed), session.journal
    threads = [f"thread-{number}" for number in range(AT_ONCE + 30)]
    cursors = dict.fromkeys(threads, Cursor(-1, 0))
    last = {thread: Cursor(random.choice((0, 2**51)), 0) for thread in threads}
    told: dict[str, list[int]] = {thread: [] for thread in threads}
    heard: dict[str, list[int]] = {thread: [] for thread in threads}
    for round_ in range(4):
        batch = []
        for thread in random.sample(threads, AT_ONCE + random.randrange(30)):
            at = last[thread]
            another = random.random() < 0.2
            last[thread] = Cursor(at.epoch + 1, 1) if another else Cursor(at.epoch, at.number + 1)
            told[thread].append(round_)
            batch.append((thread, last[thread], json.dumps([round_])))
        await journal.awrite(written(journal, batch))
        await journal.awrite(written(journal, batch[:1]))  # as after a lost connection
        if random.random() < 0.6 or round_ == 3:
            for row in await heard_since(journal, cursors):
                assert row.at > cursors[row.thread_id]
                cursors[row.thread_id] = row.at
                heard[row.thread_id] += row.events
    assert heard == told
    assert await heard_since(journal, cursors) == []
    assert await last_written(journal, threads[0]) == (
        last[threads[0]] if told[threads[0]] else Cursor(-1, 0)
    )
