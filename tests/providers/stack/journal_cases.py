"""Models and places for the tests of the journal around a call."""

from __future__ import annotations

from typing import Any

from stepgraph import Session
from stepgraph.providers.model import CallContext, Reply, Request, ToolCall, Usage
from stepgraph.state.session.internals import CONFIG_KEY_READ

HELLO = Request(({"role": "user", "content": "Hello"},))
FULL = Reply(
    "It boils.",
    "answering",
    tool_calls=(
        ToolCall("look", {"where": "here"}, "1", extra={"signature": "x"}),
        ToolCall("look", {}, "2", problem="no JSON"),
    ),
    usage=Usage(10, 20, 3, 4, 5),
    reasoning="Water is hot.",
    finish_reason="stop",
    cost_usd=0.25,
    cost_parts={"input": 0.125, "output": 0.125},
    price_source="settings",
    price_date="2026-10-01",
    latency_s=1.5,
    state={"signature": "abc"},
    media=({"type": "image", "base64": "AAAA"},),
)
BARE = Reply("ok", "answering")


class Answers:
    """Answers in turn; keeps the contexts in which it was asked."""

    name = "asked"

    def __init__(self, *outcomes: Reply | BaseException) -> None:
        self.outcomes = list(outcomes)
        self.contexts: list[CallContext] = []

    async def complete(self, request: Request, context: CallContext) -> Reply:
        assert isinstance(request, Request)
        self.contexts.append(context)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def in_a_node(session: Session) -> CallContext:
    """Return where a node makes a call, in an execution of its own."""
    config = session.config("t")
    values = {**config.get("configurable", {}), CONFIG_KEY_READ: lambda: None}
    return CallContext("step", role="large", config={**config, "configurable": values})


def rows(session: Session) -> list[dict[str, Any]]:
    session.journal.flush()
    return session.journal.query("SELECT * FROM calls ORDER BY rowid")
