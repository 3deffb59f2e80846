"""All ready graphs and random nestings, with a model whose answers depend on the request alone.

As a program it is their worker: python -m tests.runners.engines.unedited DATABASE ENGINE FOLDER.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepgraph import ScriptedModel, ToolCall, aworker
from stepgraph.providers.model import CallContext, Request
from stepgraph.runners.loading import Loaded

from ...chaos.compositions.building import Composition

EXAMPLES = Path(__file__).parents[3] / "examples"
SEEDS = tuple(range(4100, 4120))
WRONG, RIGHT = "def add(a, b):\n    return a * b", "def add(a, b):\n    return a + b"
REFUNDED = (
    "Thank you for your message. Your order SG-1046 (1 x Golden toaster) is cancelled. $59.00 was charged on "
    "2026-11-01. $59.00 was refunded on 2026-11-02. The invoice is in your account."
)
EMAIL = {
    "subject": "The Golden toaster for 49 euros",
    "body": "Until 30 June the Golden toaster costs 49 euros. Delivery is free.",
}
MAIL = ToolCall("send_email", {"subject": "Your order SG-1043", "text": "It waits for stock, dear Tom."})


def prompt(request: Request) -> str:
    return str(request.messages[-1]["content"])


def finding(clause: int, quote: str, verdict: str) -> dict[str, Any]:
    return {"clause": clause, "quote": quote, "verdict": verdict, "why": "Because."}


def note(request: Request) -> str:
    return " ".join(prompt(request).split()[-60:]) + "."


@dataclass(frozen=True)
class Ready:
    """A ready graph with an input, and what each of its steps is answered."""

    given: Mapping[str, Any]
    said: Mapping[str, Any]
    ends: str = ""


READY: dict[str, Ready] = {
    "code": Ready(
        {"task": "add(a, b)", "tests": ["assert add(1, 2) == 3", "assert add(0, 5) == 5"]},
        {"write": lambda request: RIGHT if "Your last version" in prompt(request) else WRONG},
        "passed",
    ),
    "contract-review": Ready(
        {
            "text": "1. The fee is 900 euros a month.\n2. Backups are made once a week.\n"
            "3. The supplier is never liable."
        },
        {
            "read_law": [finding(1, "The fee is 900 euros", "change")],
            "read_money": [finding(1, "900 euros a month", "accept")],
            "read_technology": [finding(2, "made once a week", "change")],
            "sum_up": "On clause 1, legal wants a change, financial accepts. Clause 2 should change.",
        },
        "complete",
    ),
    "device-first": Ready(
        {
            "text": "The meeting about the garden moves to Friday, 14:00, in room 12. Ben brings the plans.",
            "question": "In which room is the meeting?",
        },
        {"look_up": "The meeting is in room 12."},
        "answered",
    ),
    "dialogue": Ready({"text": "Which blender is best for ice?"}, {"answer": "The Nimbus blender."}),
    "document-processing": Ready(
        {
            "text": "INVOICE 2026-0417\nFenwick Tools, Leeds\nDate: 3 May 2026\nTotal: 2,500.00 EUR",
            "fields": ["seller", "date", "total"],
        },
        {
            "extract": lambda request: [
                {"field": "seller", "value": "Fenwick Tools" if len(request.messages) > 2 else "Fenwick Ltd"},
                {"field": "date", "value": "3 May 2026"},
                {"field": "total", "value": "2,500.00 EUR"},
            ],
            "summarise": "Fenwick Tools wants 2,500.00 EUR.",
        },
        "complete",
    ),
    "extraction": Ready(
        {"text": "Mara Lindqvist founded Northbay Ferries. Northbay Ferries is based in Halbrook."},
        {
            "find_entities": [
                {"name": "Mara Lindqvist", "kind": "person"},
                {"name": "Northbay Ferries", "kind": "organisation"},
                {"name": "Halbrook", "kind": "place"},
            ],
            "find_relations": [
                {
                    "subject": "Mara Lindqvist",
                    "verb": "founded",
                    "object": "northbay ferries",
                    "quote": "Mara Lindqvist founded Northbay Ferries",
                }
            ],
        },
        "sound",
    ),
    "marketing-email": Ready(
        {
            "product": "Golden toaster",
            "offer": ["The Golden toaster costs 49 euros until 30 June.", "Delivery is free."],
            "sender": "Golden Goods, Mill Lane 2",
            "unsubscribe": "https://golden-goods.example/u",
        },
        {
            "draft": EMAIL,
            "find_claims": [
                {"quote": "Golden toaster costs 49 euros", "line": 1},
                {"quote": "Delivery is free", "line": 2},
            ],
        },
        "ready",
    ),
    "product-description": Ready(
        {
            "name": "Golden toaster",
            "facts": ["It toasts 4 slices at once.", "The crumb tray comes out for cleaning."],
        },
        {
            "draft": "You toast 4 slices at once with the Golden toaster. Its crumb tray comes out for "
            "cleaning.",
            "judge_brand": [
                {"rule": 1, "kept": True, "quote": "You toast"},
                {"rule": 2, "kept": True, "quote": "comes out for cleaning"},
            ],
        },
        "ready",
    ),
    "research": Ready(
        {"question": "What does the shop do for its customers?", "sources": str(EXAMPLES / "handbook")},
        {
            "plan": [{"question": "How long is the warranty?"}, {"question": "What does delivery cost?"}],
            "answer": lambda request: f"It is told in {prompt(request)[-60:]}",
            "write": "There is nothing to say.",
        },
    ),
    "resume-screener": Ready(
        {
            "resume": "Mara Lindqvist, born 1988\nData analyst, Northbay Ferries, 2019 to 2026. Built the "
            "weekly forecast in Python.\nI have no experience with SQL.",
            "required": ["python", "transport"],
        },
        {
            "extract": [{"kind": "job", "quote": "Data analyst, Northbay Ferries"}],
            "compare": {"shown": True, "fact": 1, "why": "Ferries are transport."},
        },
    ),
    "sentiment": Ready(
        {"text": "The soup was wonderful, but we had to wait."},
        {
            "one_way": {"quote": "soup was wonderful", "mood": "positive"},
            "other_way": {"quote": "soup was wonderful", "mood": "positive"},
        },
    ),
    "summary": Ready(
        {"file": str(EXAMPLES / "alice.txt")},
        {"take_note": note, "combine": "They went on, and it all came together in the end [2] [3-5]."},
    ),
    "support-agent": Ready(
        {"body": "Where is SG-1043? Please tell me by e-mail.", "email": "tom@example.com"},
        {
            "help_customer": lambda request: (
                "I have written to you about SG-1043." if request.messages[-1]["role"] == "tool" else MAIL
            )
        },
        "released",
    ),
    "support-desk": Ready(
        {"body": "I cancelled SG-1046 and want my money back. When do I get the refund of my payment?"},
        {
            "draft": lambda request: (
                REFUNDED
                if len(request.messages) > 2
                else REFUNDED.replace("$59.00 was refunded on 2026-11-02. ", "")
            )
        },
        "released",
    ),
}


class Model(ScriptedModel):
    """Answers each thread as the graph wants it that the thread is named after."""

    def __init__(self, nestings: Mapping[str, Composition]) -> None:
        super().__init__(self._say)
        self._nestings = nestings

    def _say(self, request: Request, context: CallContext) -> Any:
        if context.thread_id in self._nestings:
            return self._nestings[context.thread_id].questions[context.step].answer(request)
        said = READY[context.thread_id].said[context.step]
        return said(request) if isinstance(said, Callable) else said  # type: ignore[arg-type]


def nestings(folder: Path) -> dict[str, Composition]:
    """Return random workflows of all patterns; their effects go to a file in the folder."""
    return {f"nesting-{seed}": Composition(seed, folder / "effects.txt") for seed in SEEDS}


async def serve(database: str, on: str, folder: str) -> None:
    os.environ["STEPGRAPH_OUTBOX"] = str(Path(folder) / "outbox")
    built = nestings(Path(folder))
    graphs = {name: Loaded(each.app, name) for name, each in built.items()}
    await aworker(*READY, graphs, db=database, on=on, models=Model(built))


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
