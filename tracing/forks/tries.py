"""The tries at one answer: a call whose answer did not fit is made again, with what was wrong with it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ...state.journal.records import HEDGE
from ..record.spans import Row

Key = tuple[str, str, int]


def tries_at(calls: Sequence[Row], call: Row) -> list[Row]:
    """Return the calls by which the same was asked, from the first one to `call`.

    `calls` are all of the thread, oldest first. Each try but the first quotes the answer of the one
    before, which is on record with what was wrong with it.
    """
    tries = [call]
    while (before := _try_before(calls, tries[0])) is not None:
        tries.insert(0, before)
    return tries


def key_of(call: Row) -> Key:
    """Return by what a replay finds the answer to a call, whichever model or hedge gave it."""
    return call["task"], call["request_hash"].removesuffix(HEDGE), call["occurrence"]


def _try_before(calls: Sequence[Row], call: Row) -> Row | None:
    messages = json.loads(call["messages"])
    before, correction = messages[:-2], messages[-2:]
    if [message["role"] for message in correction] != ["assistant", "user"]:
        return None
    earlier = calls[: next(place for place, other in enumerate(calls) if other["id"] == call["id"])]
    candidates = [
        other
        for other in earlier
        if (other["task"], other["step"]) == (call["task"], call["step"])
        and other["problem"] is not None
        and other["answer"] == correction[0].get("content")
        and before in (first := json.loads(other["messages"]), first[:-2])
    ]
    beside = [other for other in candidates if other["occurrence"] == call["occurrence"]]
    return next(reversed(beside or candidates), None)
