"""A support desk with tools: what the tests of agents stand on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from stepgraph import (
    Ask,
    ScriptedModel,
    Session,
    Workflow,
    agent,
    step,
    using,
)
from stepgraph.providers.model import ToolCall


class Finding(BaseModel):
    order: str
    days: int


@dataclass
class Ticket:
    body: str = "Where is A1?"
    kind: str = ""
    reply: str = ""
    finding: Finding | None = None
    days: int = 0


@step("reply")
def helper(ticket: Ticket) -> Ask[str]:
    return Ask(ticket.body, system="Look things up.")


@step("finding")
def find(ticket: Ticket) -> Ask[Finding]:
    return Ask(ticket.body)


@step("days")
def count(ticket: Ticket) -> Ask[int]:
    return Ask(ticket.body)


def lookup(order: str) -> str:
    """Look up an order."""
    return f"{order} arrives in 2 days"


async def weather(city: str) -> str:
    """Tell the weather."""
    return f"rain in {city}"


LOOKUP = ToolCall("lookup", {"order": "A1"})
support = agent(helper, tools=[lookup, weather], turns=3)


def ask(
    graph: Workflow[Ticket], answers: Any, config: Any = None, given: Any = None
) -> tuple[dict[str, Any], ScriptedModel]:
    with ScriptedModel(answers) as model, using(model):
        result: dict[str, Any] = graph.compile().invoke(given or Ticket(), config)
    return result, model


def decisions(session: Session, kind: str = "agent") -> list[str]:
    rows = session.journal.query("SELECT choice FROM decisions WHERE kind = ? ORDER BY id", (kind,))
    return [row["choice"] for row in rows]


def told(model: ScriptedModel, call: int = -1) -> list[str]:
    """Return the results that the model had read when it was asked."""
    return [m["content"] for m in model.asks[call][1].messages if m["role"] == "tool"]
