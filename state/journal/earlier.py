"""Answers that an earlier life of a thread paid for, which this one asks for in another order of words.

A set in a prompt is the usual cause: Python orders texts in a set anew in each process. The call is then
another one for the journal, and would be paid for again without a word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..blobs import named
from ..errors import PromptChanged
from .records import Call

OF_THE_MODEL = ("settings", "provider")  # in calls.params: who was asked, and with which dials
_SHOWN = 60  # characters of a prompt on either side of a difference


@dataclass(slots=True)
class EarlierLife:
    """What a resumed thread asked before `before`; and what this life asked for and was given again.

    `since` is set where the tasks of the earlier life had other ids, so that its calls are found by path.
    """

    before: float
    since: float | None = None
    asked: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    def check(self, calls: Sequence[Call], step: str, prompt: str) -> None:
        """Raise PromptChanged if one of these calls is this one, but for the order of its words.

        A call that this life asks for as well is a call of its own, such as a comparison in both orders.
        """
        words = sorted(_words(prompt))
        for call in calls:
            before = prompt_of(call.messages, call.params)
            if call.id in self.used or call.request_hash in self.asked or before == prompt:
                continue
            if len(before) == len(prompt) and sorted(_words(before)) == words:
                raise _changed(call, step, before, prompt)


def prompt_of(messages: str, params: str) -> str:
    """Return what two requests are compared by: all that the step asks, as JSON.

    What the model brings of its own is on record beside it, and no part of it. Images have their hashes in
    it, as on record; older files hold the images themselves.
    """
    fields = {name: value for name, value in json.loads(params).items() if name not in OF_THE_MODEL}
    return f"{json.dumps(json.loads(named(messages)), ensure_ascii=False)} {json.dumps(fields)}"


def _words(prompt: str) -> list[str]:
    return re.findall(r"\w+|\W", prompt)


def _changed(call: Call, step: str, before: str, now: str) -> PromptChanged:
    at = next(n for n, (old, new) in enumerate(zip(before, now, strict=True)) if old != new)
    start = max(0, at - _SHOWN // 3)
    old, new = (f"…{text[start : start + _SHOWN]}…" for text in (before, now))
    return PromptChanged(
        f"Step {step!r} asks what was answered before the thread {call.thread_id!r} went on, with the same "
        f"words in another order: it was {old!r}, it is {new!r}. It was not asked, because the answer would "
        "be paid for twice. A set has another order in each process: write it as sorted(...). To go on then, "
        "asking and paying for it again: `stepgraph resume --force`, or session.config(thread, "
        "allow_changed_graph=True).",
        step=step,
        before=old,
        now=new,
    )
