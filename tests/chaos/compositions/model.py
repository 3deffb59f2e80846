"""The model of the compositions: answers are pure functions of the request; each is noted before it is given.

What was asked goes as a line into a file that outlives the process, before the answer is given.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from stepgraph import Reply, Request, ScriptedModel, ToolCall
from stepgraph.providers.model import CallContext
from stepgraph.state.journal.claim import Claim
from stepgraph.state.journal.claims import Claims
from stepgraph.state.journal.journal import Journal
from stepgraph.state.journal.records import Call, CallKey

ARRIVALS = ("burst", "spread", "volley")
BEAT_S = 0.015


@dataclass(frozen=True)
class Question:
    """One step of a composition: what it asks for, and where the answer goes.

    `hidden` says that its answer need not be in a partial result: it is held back, or one of several of which
    the pattern keeps the best; `vote` names the vote that gives it up, until which it has to be there.
    `misfit` answers what does not fit first. `tools` is how many tools it calls.
    """

    name: str
    kind: str
    level: int
    field: str
    hidden: bool = False
    vote: str = ""
    misfit: bool = False
    yes: bool = False
    tools: int = 0
    pieces: Callable[[str], Any] | None = None

    def answer(self, request: Request) -> Any:
        """Return the answer; the draws of a vote differ only in what they choose, not in what they write."""
        told = [message for message in request.messages if message["role"] == "tool"]
        content = json.dumps(request.messages, default=str)
        if request.tools and len(told) < self.tools:
            return ToolCall("find", {"query": token(content)})
        if self.kind == "text":
            return token(content)
        if self.misfit and len(request.messages) == 1:
            return "x"
        if self.kind == "plan":
            assert self.pieces is not None
            return self.pieces(token(content))
        number = int(token(f"{content}{request.sample}")[1:-1], 16)
        if self.kind == "ok":
            return self.yes or number % 2 == 0
        return number % 10 if self.kind == "score" else ("left", "right")[number % 2]


def token(text: str) -> str:
    return f"<{hashlib.sha256(text.encode()).hexdigest()[:12]}>"


@dataclass(frozen=True)
class Moment:
    """When a process sends a signal to itself: so long after the so manieth question, or committed answer.

    Right after a commit, nobody has seen the answer yet.
    """

    signal: int
    number: int
    delay_s: float = 0.0
    committed: bool = False

    def come(self) -> None:
        if self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, os.kill, os.getpid(), self.signal)
        else:
            os.kill(os.getpid(), self.signal)


looked_at: ContextVar[float] = ContextVar("looked_at")  # when the journal was asked for the answer
checked_at: ContextVar[float] = ContextVar("checked_at")  # when the claim was last found to be held


def watch_claims(file: Path, life: int) -> None:
    """Note when a claim is taken, held against the clock, and when the journal is asked for an answer."""
    hold, check, find = Claims.hold, Claims.acheck, Journal.find_answer
    notes = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def held(self: Claims, thread_id: str, claim: Claim) -> None:
        hold(self, thread_id, claim)
        line = {"claimed": thread_id, "life": life, "at": time.time()}
        os.write(notes, json.dumps(line).encode() + b"\n")

    async def checked(self: Claims, thread_id: str) -> None:
        began = time.time()
        await check(self, thread_id)
        checked_at.set(began)

    async def found(self: Journal, key: CallKey) -> Call | None:
        looked_at.set(time.time())
        return await find(self, key)

    Claims.hold = held  # type: ignore[method-assign]
    Claims.acheck = checked  # type: ignore[method-assign]
    Journal.find_answer = found  # type: ignore[method-assign]


def watch_commits(file: Path, moment: Moment | None, life: int = 0) -> None:
    """Note each commit of an answer in the file, too, before anybody sees the answer."""
    commit, numbers = Journal.commit_call, count(1)
    notes = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def watched(self: Journal, call: Call) -> None:
        await commit(self, call)
        if call.status == "answered":
            key = [call.thread_id, call.task, call.request_hash, call.occurrence]
            os.write(notes, json.dumps({"committed": key, "life": life, "at": time.time()}).encode() + b"\n")
        if moment is not None and moment.committed and next(numbers) == moment.number:
            moment.come()

    Journal.commit_call = watched  # type: ignore[method-assign]


@dataclass
class CountingModel(ScriptedModel):
    """Notes each call in a file, then answers by the questions of a composition."""

    questions: dict[str, Question]
    file: Path
    life: int
    arrival: str = "spread"
    moment: Moment | None = None
    number: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        super().__init__(lambda request, context: self.questions[context.step].answer(request))
        self._asked = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def complete(self, request: Request, context: CallContext) -> Reply:
        assert context.key is not None
        line = {
            "life": self.life,
            "at": time.time(),
            "looked": looked_at.get(),
            "checked": checked_at.get(),
            "thread": context.key.thread_id,
            "call": [context.key.task, context.key.request_hash, context.key.occurrence],
            "step": context.step,
        }
        os.write(self._asked, json.dumps(line).encode() + b"\n")
        self.number += 1
        if self.moment is not None and not self.moment.committed and self.number == self.moment.number:
            self.moment.come()
        await asyncio.sleep(self._delay_s())
        return await super().complete(request, context)

    def _delay_s(self) -> float:
        if self.arrival == "spread":
            return random.uniform(0.0, 0.012)
        return BEAT_S - time.monotonic() % BEAT_S if self.arrival == "volley" else 0.0
