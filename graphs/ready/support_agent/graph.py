"""Tool-augmented support: an agent looks products and orders up; it may e-mail, if a person approves.

    help ⇄ find_products, find_order, send_email ─► check ─► release, or hold for a person

The agent is one step of a fixed backbone: it decides what to look up, code decides what becomes of its
reply. The customer's address is not the model's to choose: it comes from the request.

    stepgraph run support-agent --input examples/requests.jsonl --model openai:gpt-5-mini
    stepgraph pending          an e-mail that waits; then stepgraph approve, edit or reject
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Annotated, Literal

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import ToolException
from langgraph.prebuilt import InjectedState
from pydantic import Field, StringConstraints

from ....nodes.ask import Ask
from ....nodes.rules import rule
from ....nodes.steps import step
from ...patterns.agent import agent
from ...patterns.chain import chain
from ..support_desk import shop
from ..support_desk.outbox import post

TURNS = 4

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=5000)]
Address = Annotated[str, StringConstraints(pattern=r"^[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>]+$", max_length=200)]
Status = Literal["new", "released", "held"]


@dataclass
class Inquiry:
    """What a customer wants, and what the agent makes of it."""

    body: Text
    email: Address
    reply: str = ""
    problems: list[str] = field(default_factory=list)
    status: Status = "new"


def find_products(query: str) -> str:
    """Look up products by name or kind: price, stock and warranty. Example: blender."""
    return " ".join(shop.find_products(query)) or "We sell nothing of that name."


def find_order(number: str) -> str:
    """Look up an order with its payments. Example: SG-1042."""
    order = shop.order_number_in(number)
    facts = [*shop.order_facts(order), *shop.payment_facts(order)] if order else []
    return " ".join(facts) or f"There is no order {number[:40]}."


def send_email(
    subject: Annotated[str, Field(min_length=3, max_length=120)],
    text: Annotated[str, Field(min_length=20, max_length=3000)],
    to: Annotated[str, InjectedState("email")],
) -> str:
    """Send an e-mail to the customer. Only if they ask for one."""
    mail = EmailMessage()
    try:
        mail["To"], mail["Subject"] = to, subject
        mail.set_content(text)
    except ValueError as error:
        raise ToolException(
            f"that is no e-mail: {error}"
        ) from None  # nothing happened, so it may be corrected
    path = post(f"mail {to} {subject} {text}", mail.as_string())
    return f"The e-mail lies in the outbox: {path.name}"


# Small models copy a shown pattern better than they follow an instruction.
CALL = {"name": "find_products", "args": {"query": "toaster"}, "id": "shown0001"}
SHOWN: list[BaseMessage] = [
    HumanMessage("Do you sell toasters?"),
    AIMessage("", tool_calls=[CALL]),
    ToolMessage("Golden toaster: $59.00, 22 in stock, 12 months of warranty.", tool_call_id="shown0001"),
    AIMessage("Yes, the Golden toaster costs $59.00, and we have 22 of them."),
]


@step("reply", model="large")
def help_customer(inquiry: Inquiry) -> Ask[str]:
    return Ask(
        [*SHOWN, HumanMessage(inquiry.body)],
        system="You answer customers of a shop for kitchen machines, in at most three sentences. Look up "
        "what you do not know; name no price, date or order that you did not look up. Send an e-mail only if "
        "the customer asks for one.",
        temperature=0,
        max_tokens=250,
    )


_MONEY = re.compile(r"(?:\$|USD|€|EUR)\s?(\d[\d,]*(?:\.\d+)?)")


@rule("problems")
def check(inquiry: Inquiry) -> list[str]:
    """Say what is wrong with the reply: orders nobody asked about, prices nothing has, idle words."""
    numbers = set(shop.ORDER_NUMBER.findall(inquiry.body))
    strange = set(shop.ORDER_NUMBER.findall(inquiry.reply)) - numbers
    problems = [f"Nobody asked about SG-{number}." for number in sorted(strange)]
    known = shop.amounts([f"SG-{number}" for number in numbers])
    named = {float(amount.replace(",", "")) for amount in _MONEY.findall(inquiry.reply)}
    problems += [f"${amount:.2f} is no price of ours." for amount in sorted(named - known)]
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+", inquiry.reply) if part.strip()]
    if len(set(sentences)) < len(sentences):
        problems.append("It repeats itself.")
    if not _words(inquiry.reply) & (_words(inquiry.body) | _words(shop.product_names())):
        problems.append("It has nothing to do with the question.")
    return problems


def _words(text: str) -> set[str]:
    """Return what may tell what a text is about: its longer words and its numbers."""
    return set(re.findall(r"[a-z]{5,}|\d{4}", text.lower()))


def release(inquiry: Inquiry) -> dict[str, Status]:
    """Release a reply that passed the check; hold any other one for a person."""
    return {"status": "held" if inquiry.problems else "released"}


helper = agent(
    help_customer,
    tools=[find_products, find_order, send_email],
    turns=TURNS,
    approve=["send_email"],
    once=["send_email"],
)
graph = chain(helper, check, release, name="support-agent")
