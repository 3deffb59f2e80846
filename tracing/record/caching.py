"""How much of a run's input was read from the providers' caches, step by step, and where that collapsed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from .run import Run
from .spans import Query, Row
from .text import one_line

ENOUGH_TOKENS: Final = 2048  # of input; providers keep nothing below 1,024
GOOD: Final = 0.5
KEPT_S: Final = 300.0  # so long they keep it after its last use
LOOKED_BACK: Final = 5

# The threads of the same graph before this one, the latest first, with what their steps read from a cache.
_BEFORE = """
SELECT p.* FROM prompt_caching p JOIN (
    SELECT r.thread_id, r.started_at FROM runs r
    WHERE r.started_at < ? AND r.thread_id <> ? AND coalesce(r.graph, (
        SELECT i.graph FROM invocations i WHERE i.thread_id = r.thread_id ORDER BY i.id DESC LIMIT 1), '') = ?
    ORDER BY r.started_at DESC LIMIT ?
) earlier ON earlier.thread_id = p.thread_id
ORDER BY earlier.started_at DESC
"""
_PROMPT = """
SELECT messages FROM calls WHERE thread_id = ? AND step = ? AND source = 'model'
AND started_at BETWEEN ? AND ? ORDER BY started_at LIMIT 1
"""


@dataclass(frozen=True)
class CacheUse:
    """What the calls of one step to one model read from the provider's cache in one run.

    `thread_id` is the run's; of several runs of a thread, `run` is the number. Times are those of the first
    and the last call.
    """

    thread_id: str
    step: str
    model: str
    calls: int
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    started_at: float
    last_at: float
    run: int = 0

    @property
    def share(self) -> float:
        """The part of the input that was read from the cache, 0 to 1."""
        return self.cached_tokens / self.input_tokens if self.input_tokens else 0.0


@dataclass(frozen=True)
class Collapse:
    """A step that read much from the cache in the run before, and hardly anything now."""

    now: CacheUse
    before: CacheUse
    why: str

    def __str__(self) -> str:
        return (
            f"step {self.now.step!r} read {self.now.share:.0%} of its input from the provider's cache, "
            f"{self.before.share:.0%} in the run before ({self.before.thread_id}): {self.why}"
        )


def cache_use(run: Run) -> list[CacheUse]:
    """Return what each step read from a cache, as far as the providers say so."""
    groups: dict[tuple[int, str, str], list[Row]] = {}
    for span in run.spans:
        paid = span.kind == "call" and span.source == "model" and span.row["status"] != "failed"
        if paid and span.row["cached_tokens"] is not None:
            key = (span.trace.number, span.row["step"], span.row["model_asked"])
            groups.setdefault(key, []).append(span.row)
    return [_sum(run.thread.thread_id, *key, rows) for key, rows in groups.items()]


def _sum(thread_id: str, number: int, step: str, model: str, rows: Sequence[Row]) -> CacheUse:
    input_tokens, cached, written = (
        sum(row[name] or 0 for row in rows)
        for name in ("input_tokens", "cached_tokens", "cache_write_tokens")
    )
    times = [row["started_at"] for row in rows]
    return CacheUse(
        thread_id, step, model, len(rows), input_tokens, cached, written, min(times), max(times), number
    )


def collapses(query: Query, run: Run) -> list[Collapse]:
    """Return where a step reads much less from the cache than in the run before of its thread or graph."""
    uses = [use for use in cache_use(run) if use.input_tokens >= ENOUGH_TOKENS and use.share < GOOD]
    if not uses:
        return []
    thread = run.thread
    rows = query(_BEFORE, (thread.started_at, thread.thread_id, thread.name or "", LOOKED_BACK))
    earlier = [_use(row) for row in rows]
    mine = sorted(cache_use(run), key=lambda use: -use.run)
    results = []
    for now in uses:
        same = (b for b in (*mine, *earlier) if (b.step, b.model) == (now.step, now.model))
        before = next((b for b in same if b.thread_id != now.thread_id or b.run < now.run), None)
        if before is not None and _fell(before, now):
            results.append(Collapse(now, before, _why(query, before, now)))
    return results


def _fell(before: CacheUse, now: CacheUse) -> bool:
    soon = now.started_at - before.last_at < KEPT_S
    several = min(before.calls, now.calls) > 1  # of these, the first fills the cache
    return before.share >= GOOD and now.share < before.share / 2 and (several or soon)


def _use(row: Row) -> CacheUse:
    names = CacheUse.__dataclass_fields__.keys() & row.keys()
    return CacheUse(**{name: row[name] for name in names})


def _why(query: Query, before: CacheUse, now: CacheUse) -> str:
    """Say where the prompts of the two runs begin to differ."""
    prompts = [_prompt(query, use) for use in (before, now)]
    if not all(prompts):
        return "the prompts are not on record any more"
    one, other = prompts
    same = len(os.path.commonprefix(prompts))  # noqa: RUF071 of texts, which it is good for
    if same > len(other) * GOOD:
        return (
            f"the prompts of both runs begin with the same {same} characters, so the provider did not keep "
            "them, or the calls of this run came all at once; Ask(prefix=…) sends one ahead"
        )
    was, is_now = (one_line(text[max(0, same - 20) : same + 30], 60) for text in (one, other))
    return f"the prompts differ from character {same + 1} on, “{was}” before, “{is_now}” now"


def _prompt(query: Query, use: CacheUse) -> str:
    rows = query(_PROMPT, (use.thread_id, use.step, use.started_at, use.last_at))
    messages: Sequence[Any] = json.loads(rows[0]["messages"]) if rows else ()
    return "".join(islice(_texts(messages), 1000))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, dict):
        yield from _texts(value.get("content", value.get("text", "")))
