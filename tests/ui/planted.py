"""A record with a fault planted in one of 13 steps, to be found from the page by somebody new to it.

    python -m tests.ui.planted --db /tmp/planted.sqlite --runs 200
    stepgraph ui --db /tmp/planted.sqlite

The task: "Parcel 1137 was worth 120 dollars, and its sender was promised 12 euros. Which step got it wrong?
And which other claims have the same fault?" The answer is printed at the end.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from typing import Any

from stepgraph import Ask, Budget, ScriptedModel, Session, chain, fan_out, refine, route, step, using
from stepgraph.providers.model import Request

FAULTY_STEP = "exchange"
NAMES = ("Ada", "Grace", "Linus", "Barbara", "Edsger", "Radia", "Ken", "Margaret")


@dataclass
class Item:
    text: str = ""
    value: str = ""


@dataclass
class Claim:
    letter: str = ""
    language: str = ""
    kind: str = ""
    facts: str = ""
    items: list[Item] | None = None
    policy: str = ""
    amount: str = ""
    euros: str = ""
    reasons: str = ""
    reply: str = ""
    checked: bool = False
    subject: str = ""
    summary: str = ""


@step("language")
def detect_language(claim: Claim) -> Ask[str]:
    return Ask(f"Which language is this in?\n{claim.letter}")


@step("facts")
def extract_facts(claim: Claim) -> Ask[str]:
    return Ask(f"List the facts.\n{claim.letter}", system="You work for a parcel service.")


@step("value")
def price_item(item: Item) -> Ask[str]:
    return Ask(f"What is it worth in dollars?\n{item.text}")


@step("policy")
def find_policy(claim: Claim) -> Ask[str]:
    return Ask(f"Which rule covers this?\n{claim.facts}")


@step("amount")
def decide_amount(claim: Claim) -> Ask[str]:
    return Ask(f"Decide the amount in dollars.\nFacts: {claim.facts}\nRule: {claim.policy}")


@step("euros")
def exchange(claim: Claim) -> Ask[str]:
    return Ask(f"Exchange into euros at 1 to 1: {claim.amount}")


@step("reasons")
def give_reasons(claim: Claim) -> Ask[str]:
    return Ask(f"Give the reasons for paying {claim.euros}.\n{claim.policy}")


@step("reply")
def write_reply(claim: Claim) -> Ask[str]:
    return Ask(f"Write the reply. Promise {claim.euros}.\nReasons: {claim.reasons}")


@step("checked")
def check_tone(claim: Claim) -> Ask[bool]:
    return Ask(f"Is the tone right?\n{claim.reply}")


@step("subject")
def write_subject(claim: Claim) -> Ask[str]:
    return Ask(f"Write a subject line for:\n{claim.reply}")


@step("summary")
def summarise(claim: Claim) -> Ask[str]:
    return Ask(f"Sum up for the file:\n{claim.subject}\n{claim.reply}")


def kind(claim: Claim) -> str:
    return "damage" if "broken" in claim.letter else "delay"


def split(claim: Claim) -> list[Item]:
    return [Item(f"{thing} of {claim.facts[:40]}") for thing in ("box", "cup")]


app = chain(
    detect_language,
    extract_facts,
    route(
        kind,
        {
            "damage": chain(fan_out(split, price_item, into="items"), find_policy),
            "delay": find_policy,
        },
    ),
    decide_amount,
    exchange,
    give_reasons,
    refine(write_reply, check_tone, until=bool, rounds=2),
    write_subject,
    summarise,
    name="claims",
).compile()


def answering(number: int, faulty: bool) -> Any:
    dollars, state = 100 + number % 9 * 10, "broken" if number % 2 else "late"

    def answer(request: Request, _: Any) -> str:
        asked = str(request.messages[-1]["content"])
        if "Exchange" in asked:
            right = re.search(r"(\d+) dollars", asked)
            amount = int(right[1]) if right else 0
            return f"{amount // 10 if faulty else amount} euros"
        if "tone" in asked:
            return "true"
        promised = re.search(r"(\d+) euros", asked)
        if "Write the reply" in asked:
            return f"Dear {NAMES[number % 8]}, we pay you {promised[1] if promised else '?'} euros."
        said = {
            "language": "English",
            "facts": f"Parcel {1000 + number} came {state}, sender {NAMES[number % 8]}",
            "worth": f"{dollars // 2} dollars",
            "rule": "Rule 7: full value up to 500 dollars",
            "amount": f"{dollars} dollars",
            "reasons": "The value is shown by the bill.",
            "subject": f"Your parcel {1000 + number}",
        }
        return next(
            (text for word, text in said.items() if word in asked.partition("\n")[0]), "Paid as promised."
        )

    return answer


def plant(session: Session, runs: int) -> list[str]:
    """Run the claims, and return the threads in which the step fails."""
    faulty = [number for number in range(runs) if number % 12 == 5]
    for number in range(runs):
        letter = f"My parcel {1000 + number} came {'broken' if number % 2 else 'late'}. {NAMES[number % 8]}"
        config = session.config(
            f"claim-{number:03}",
            user=NAMES[number % 8].lower(),
            tags=["eu" if number % 3 else "us"],
            budget=Budget(calls=50),
        )
        with using(ScriptedModel(answering(number, number in faulty))):
            app.invoke(Claim(letter), config)
    return [f"claim-{number:03}" for number in faulty]


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--db", default="/tmp/planted.sqlite")
    arguments.add_argument("--runs", type=int, default=200)
    given = arguments.parse_args()
    with Session(given.db) as session:
        faulty = plant(session, given.runs)
    print(f"The step is {FAULTY_STEP}; the claims are {', '.join(faulty)}.")


if __name__ == "__main__":
    main()
