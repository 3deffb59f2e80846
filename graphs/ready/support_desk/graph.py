"""The support desk: route a ticket beside a guard, look the facts up, draft a reply, check it, act.

    screen ║ triage ──► billing    look up order and payments, check what we owe ─┐
           ║        ──► technical  diagnose: the order's machine, and the manual  ├─► draft ⇄ check
           ║        ──► general    search the help articles                       ─┘   (3 rounds)
           ║        ──► urgent     a holding reply
           ║        ──► fallback   hand over to a person
    then:  urgent? a colleague approves or edits ─► owed? refund, a large one once approved ─► release

Embeddings guard and route, code checks, so the small on-device model has to do one thing only: write. A
reply that still breaks a check after the last round is held for a person, with what is wrong. What
reaches out of the graph stands behind the guard, and what is paid back comes from the shop's records,
never from a model.

    stepgraph run support-desk --input examples/tickets.jsonl --model local
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import StringConstraints

from ....nodes.ask import Ask
from ....nodes.effects import effect
from ....nodes.neighbours import nearest
from ....nodes.rules import rule
from ....nodes.steps import step
from ...patterns.chain import chain
from ...patterns.gate import gate
from ...patterns.guard import guard
from ...patterns.refine import refine
from ...patterns.review import review
from ...patterns.route import route
from ..few_shot import few_shot
from . import shop
from .outbox import post
from .topics import INTENTS, PHRASES, Topic

Status = Literal["new", "urgent", "released", "held", "handed over"]

REFUND_LIMIT = 100.0  # dollars; a person approves what is more
MAX_CHARACTERS = 700
MIN_CHARACTERS = 40
# Shares of content words: of each fact that the reply tells, of the reply that the facts back.
COVERED = 0.7
GROUNDED = 0.7


@dataclass
class Ticket:
    """A customer's message, and what the desk makes of it."""

    body: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=5000)]
    ticket: str = ""
    topic: Topic | None = None
    order: str | None = None
    facts: list[str] = field(default_factory=list)
    refund: float | None = None
    reply: str = ""
    problems: list[str] = field(default_factory=list)
    note: str = ""
    refunded: float | None = None
    receipt: str = ""
    status: Status = "new"


@nearest(INTENTS)
def screen(ticket: Ticket) -> str:
    return shop.ORDER_NUMBER.sub("", ticket.body)


@nearest(PHRASES, writes="topic")
def triage(ticket: Ticket) -> str:
    return shop.ORDER_NUMBER.sub("", ticket.body)


def find_payments(ticket: Ticket) -> dict[str, object]:
    """Look the order and its payments up."""
    order = shop.order_number_in(ticket.body)
    return {"order": order, "facts": _about(order, shop.payment_facts(order) if order else [])}


def check_claim(ticket: Ticket) -> dict[str, float | None]:
    """Find out from the payments what we owe the customer, whatever the ticket says."""
    return {"refund": (shop.owed(ticket.order) if ticket.order else 0.0) or None}


def diagnose(ticket: Ticket) -> dict[str, object]:
    """Look up what the help articles say about the fault, and the warranty."""
    order = shop.order_number_in(ticket.body)
    product = shop.product_of(order) if order else ""
    advice = shop.find_article(f"{ticket.body} {product}")
    return {"order": order, "facts": [*advice, *(shop.warranty_facts(order) if order else [])]}


def search(ticket: Ticket) -> dict[str, object]:
    """Search the help articles."""
    return {"facts": shop.find_article(ticket.body)}


def _about(order: str | None, facts: list[str]) -> list[str]:
    if order is None:
        return ["Please send us the number of your order, and we will look into it."]
    known = shop.order_facts(order)
    if not known:
        return [f"We have no order {order}. Please check the number."]
    return [*known, *facts, "The invoice is in your account."]


THANKS = "Thank you for your message."
EXAMPLES: dict[str, list[tuple[str, str]]] = {
    "billing": [
        (
            "Order SG-1002 (1 x Golden toaster) was shipped on 2026-05-02. $59.00 was charged on 2026-05-01. "
            "The invoice is in your account.",
            f"{THANKS} Your order SG-1002 (1 x Golden toaster) was shipped on 2026-05-02. $59.00 was charged "
            "on 2026-05-01. The invoice is in your account.",
        ),
        (
            "Order SG-1001 (2 x Gram kitchen scale) is cancelled. $50.00 was charged on 2026-02-11. "
            "$50.00 was refunded on 2026-02-13.",
            f"{THANKS} Your order SG-1001 (2 x Gram kitchen scale) is cancelled. $50.00 was charged on "
            "2026-02-11. $50.00 was refunded on 2026-02-13.",
        ),
    ],
    "technical": [
        (
            "Call us if the lid does not close.",
            f"{THANKS} Please call us if the lid does not close.",
        ),
        (
            "Rinse the jug twice and let it dry. The Golden toaster from order SG-1002 is under warranty "
            "until 2027-03-09.",
            f"{THANKS} Please rinse the jug twice and let it dry. The Golden toaster from order SG-1002 is "
            "under warranty until 2027-03-09.",
        ),
    ],
    "general": [
        ("The workshop is closed in August.", f"{THANKS} The workshop is closed in August."),
        (
            "You can pay by card or by bank transfer. We send a receipt.",
            f"{THANKS} You can pay by card or by bank transfer. We send a receipt.",
        ),
    ],
}


@step("reply")
def draft(ticket: Ticket) -> Ask[str]:
    """Ask for a reply that tells the facts; in later rounds, what was left out comes first."""
    examples = [(f"Facts: {shown}", reply) for shown, reply in EXAMPLES[ticket.topic or "general"]]
    missing = left_out(ticket) if ticket.problems else []
    facts = [*missing, *(fact for fact in ticket.facts if fact not in missing)]
    return Ask(
        few_shot(examples, f"Facts: {' '.join(facts)}"),
        system="You write short, polite replies to customers. You tell all the facts and nothing else.",
        temperature=0.6 if ticket.problems else 0.0,
        max_tokens=120,
    )


def left_out(ticket: Ticket) -> list[str]:
    """Return the facts that the reply does not tell."""
    return [fact for fact in ticket.facts if _shared(fact, ticket.reply) < COVERED]


_MONEY = re.compile(
    r"(?:\$|USD|EUR|€|£)\s?(\d[\d,]*(?:\.\d+)?)|(\d[\d,]*(?:\.\d+)?)\s?(?:dollars|euros?|USD|EUR)"
)
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_PLACEHOLDER = re.compile(r"\[[^\]]{2,}\]|<[^>]{2,}>")
_WORD = re.compile(r"[a-z]{4,}")
_POLITE = frozenset(
    "about best customer dear from have hello help hope kind message order please regards reply sorry thank "
    "thanks this that will with would your".split()
)


@rule("problems")
def check(ticket: Ticket) -> list[str]:
    """Say what is wrong with the reply: order, amounts, dates, facts left out or made up, length."""
    reply, facts = ticket.reply, " ".join(ticket.facts)
    problems = []
    if ticket.order and ticket.order not in reply:
        problems.append(f"Name the order {ticket.order}.")
    strange = {f"SG-{n}" for n in shop.ORDER_NUMBER.findall(reply)} - {ticket.order}
    if strange:
        problems.append(f"Do not name {', '.join(sorted(strange))}.")
    if _amounts(reply) - _amounts(facts):
        problems.append("Do not name amounts of money that are not in the facts.")
    if set(_DATE.findall(reply)) - set(_DATE.findall(facts)):
        problems.append("Do not name dates that are not in the facts.")
    if _PLACEHOLDER.search(reply):
        problems.append("Do not leave placeholders in brackets.")
    if missing := left_out(ticket):
        problems.append(f"Tell this too: {' '.join(missing)}")
    sentences = [s.strip() for s in re.split(r"(?<=[.!?])\s+", reply) if s.strip()]
    if any(_is_made_up(sentence, ticket) for sentence in sentences):
        problems.append("Say only what the facts say.")
    if len(set(sentences)) < len(sentences):
        problems.append("Do not repeat yourself.")
    if not MIN_CHARACTERS <= len(reply) <= MAX_CHARACTERS:
        problems.append(f"Write between {MIN_CHARACTERS} and {MAX_CHARACTERS} characters.")
    return problems


def _is_made_up(sentence: str, ticket: Ticket) -> bool:
    """Tell whether no fact backs a sentence; one with a date or an amount needs the fact that has it."""
    marks = {*_DATE.findall(sentence), *map(str, _amounts(sentence))}
    backing = [f for f in ticket.facts if marks <= {*_DATE.findall(f), *map(str, _amounts(f))}]
    if not marks:
        backing = [" ".join([*ticket.facts, ticket.body])]
    return max((_shared(sentence, fact) for fact in backing), default=0.0) < GROUNDED


def _shared(text: str, other: str) -> float:
    """Return which share of a text's content words the other text has, 0 to 1."""
    words = set(_WORD.findall(text.lower())) - _POLITE
    return len(words & set(_WORD.findall(other.lower()))) / len(words) if words else 1.0


def _amounts(text: str) -> set[float]:
    return {float((a or b).replace(",", "")) for a, b in _MONEY.findall(text)}


def hand_over(_: Ticket) -> dict[str, str]:
    """Tell the customer that a person will answer."""
    return {
        "reply": "Thank you for your message. A colleague will read it and answer you today.",
        "status": "handed over",
    }


def escalate(_: Ticket) -> dict[str, str]:
    """Write what the customer reads until a colleague has looked."""
    return {
        "reply": "Thank you for telling us. A colleague is looking at this now and will call you today.",
        "status": "urgent",
    }


def is_calm(ticket: Ticket) -> bool | str:
    return ticket.status != "urgent" or "it is urgent."


@review("reply", reason="note")
def colleague(ticket: Ticket) -> str:
    return f"Urgent: {ticket.body} Send this reply?"


def is_settled(ticket: Ticket) -> bool | str:
    return not ticket.refund or f"we owe ${ticket.refund:.2f}."


def size(ticket: Ticket) -> Literal["small", "large"]:
    return "small" if (ticket.refund or 0.0) <= REFUND_LIMIT else "large"


@review("refund", reason="note")
def approve_refund(ticket: Ticket) -> str:
    return f"Pay ${ticket.refund or 0.0:.2f} back for {ticket.order}?"


@effect(key=lambda ticket: f"{ticket.order}:{ticket.refund or 0.0:.2f}", retry=True)
def refund(ticket: Ticket, key: str) -> dict[str, object]:
    """Order the refund, once, since the outbox knows a key again; never more than what we owe."""
    amount = max(0.0, min(shop.owed(ticket.order or ""), ticket.refund or 0.0))
    receipt = post(key, f"Refund ${amount:.2f} for the order {ticket.order}.\n")
    return {"refunded": amount, "receipt": str(receipt)}


def keep(ticket: Ticket) -> dict[str, list[str]]:
    """Hold a reply that may promise what was refused."""
    return {"problems": [*ticket.problems, f"The refund was refused: {ticket.note}"]}


def release(ticket: Ticket) -> dict[str, Status]:
    """Release a reply that passed every check and every person; hold any other one for a person."""
    if ticket.status == "handed over":
        return {}
    return {"status": "held" if ticket.problems or ticket.note else "released"}


answer = refine(
    draft, check, until=lambda problems: not problems, rounds=3, score=lambda problems: -len(problems)
)
desk = route(
    triage,
    {
        "billing": chain(find_payments, check_claim, answer),
        "technical": chain(diagnose, answer),
        "general": chain(search, answer),
        "urgent": escalate,
    },
    fallback=hand_over,
    min_confidence=0.5,
    name="desk",
)
large = route(approve_refund, {"approved": refund, "rejected": keep})
graph = chain(
    guard(desk, screen, lambda screening: screening.label != "attack", otherwise=hand_over, name="guarded"),
    gate(is_calm, otherwise=colleague),
    gate(is_settled, otherwise=route(size, {"small": refund, "large": large})),
    release,
    name="support-desk",
)
