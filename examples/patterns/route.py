"""Route: a small model sorts tickets; what it is not sure of goes to a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stepgraph import Ask, Choice, ScriptedModel, route, step, using

Topic = Literal["billing", "technical"]


@dataclass
class Ticket:
    body: str
    topic: Choice[Topic] | None = None
    reply: str = ""


@step("topic", model="small")
def triage(ticket: Ticket) -> Ask[Choice[Topic]]:
    return Ask(f"Is this ticket about billing, or technical? {ticket.body}")


@step("reply")
def look_at_bill(ticket: Ticket) -> Ask[str]:
    return Ask(f"Answer this question about a bill in one sentence.\n{ticket.body}")


@step("reply")
def diagnose(ticket: Ticket) -> Ask[str]:
    return Ask(f"Name the likely fault in one sentence.\n{ticket.body}")


def hand_over(_: Ticket) -> dict[str, str]:
    return {"reply": "A person will answer."}


desk = route(triage, {"billing": look_at_bill, "technical": diagnose}, fallback=hand_over, min_confidence=0.6)
app = desk.compile()


def main() -> None:
    answers = {
        "triage": [
            {"label": "billing", "confidence": 0.95, "reason": "a double charge"},
            {"label": "technical", "confidence": 0.3, "reason": "it says only hello"},
        ],
        "look_at_bill": ["You get one of the two payments back."],
    }
    with using(ScriptedModel(answers)):  # or: using("local"), using("openai:gpt-5-mini")
        for body in ("My card was charged twice.", "Hello?"):
            print(f"{body} -> {app.invoke(Ticket(body))['reply']}")


if __name__ == "__main__":
    main()
