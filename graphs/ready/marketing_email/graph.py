"""Marketing e-mails: drafted from an offer, checked for compliance, translated.

    draft ⇄ compliance (code, at most 3 rounds) ─► claims ─► backed? ─► translate ─► code gate ─► sign
                                     │            (judge)    │ 1 x: draft again        │ 1 x: again
                                     └───────────────────────┴─────────────────────────┴─► held

The judge, which has a role of its own, names each claim of the e-mail and the line of the offer that
backs it. What the law wants in every such e-mail, sender and unsubscribe link, no model writes: `sign` adds
it. A passed check is no legal advice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from ....nodes.ask import Ask
from ....nodes.rules import rule
from ....nodes.steps import step
from ...patterns.chain import chain
from ...patterns.gate import gate
from ...patterns.refine import refine
from ...patterns.route import route
from ..few_shot import few_shot
from ..text_checks import (
    Language,
    found_words,
    has_placeholder,
    is_quoted,
    none,
    said_twice,
    strange_numbers,
    translation_flaws,
)

Status = Literal["new", "ready", "held"]

MOST_CLAIMS = 8
# Claims that nobody can prove, and pressure.
FORBIDDEN = (
    "best|guaranteed|guarantee|risk-free|no risk|cure|miracle|free money|act now|last chance|only today|"
    "you have won|once in a lifetime|number one|cheapest"
).split("|")
_SHOUTED = re.compile(r"\b[A-Z]{5,}\b")
FOOTERS: dict[Language | Literal["English"], str] = {
    "English": "You get this e-mail because you subscribed. Unsubscribe:",
    "German": "Sie erhalten diese E-Mail, weil Sie sie bestellt haben. Abbestellen:",
    "French": "Vous recevez cet e-mail parce que vous vous êtes inscrit. Se désinscrire :",
    "Spanish": "Recibe este correo porque se ha suscrito. Darse de baja:",
    "Italian": "Riceve questa e-mail perché si è iscritto. Annullare l'iscrizione:",
}

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=200)]


class Email(BaseModel):
    """An e-mail's subject and body."""

    subject: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=80)]
    body: Annotated[str, StringConstraints(strip_whitespace=True, min_length=20, max_length=600)]


class Claim(BaseModel):
    """Something that the e-mail promises, and the line of the offer that backs it, 0 for none."""

    quote: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=120)]
    line: int = Field(ge=0, le=10)


@dataclass
class Campaign:
    """What is offered, by whom and in which language, and the e-mail that is made of it."""

    product: Line
    offer: Annotated[list[Line], Field(min_length=1, max_length=10)]
    sender: Line
    unsubscribe: Line
    language: Language | None = None
    email: Email | None = None
    claims: list[Claim] = field(default_factory=list)
    translation: Email | None = None
    problems: list[str] = field(default_factory=list)
    status: Status = "new"
    ready: str = ""


SHOWN = "Product: Harbour lamp\nOffer: The Harbour lamp costs 20 euros in May. It comes with a bulb."
SHOWN_EMAIL = {
    "subject": "The Harbour lamp for 20 euros",
    "body": "In May the Harbour lamp costs 20 euros. It comes with a bulb. You can order it on our site.",
}


@step("email")
def draft(campaign: Campaign) -> Ask[Email]:
    """Ask for the e-mail; after a failed check, with what was wrong."""
    fix = f"\nMend this in your last version: {' '.join(campaign.problems)}" if campaign.problems else ""
    last = f"\nIt was: {text_of(campaign.email)}" if fix and campaign.email else ""
    prompt = f"Product: {campaign.product}\nOffer: {' '.join(campaign.offer)}{fix}{last}"
    return Ask(
        few_shot([(SHOWN, SHOWN_EMAIL)], prompt),
        system="You write short, honest e-mails to subscribers. You tell the offer, promise nothing else, "
        "use no superlatives, and do not sign.",
        temperature=0.5 if fix else 0,
        max_tokens=500,
    )


def text_of(email: Email | None) -> str:
    return f"{email.subject}\n\n{email.body}" if email else ""


@rule("problems")
def comply(campaign: Campaign) -> list[str]:
    """Say what is wrong with the e-mail, as far as code can see."""
    text = text_of(campaign.email)
    problems = []
    if not is_quoted(campaign.product, text):
        problems.append(f"Name the product: {campaign.product}.")
    if forbidden := found_words(FORBIDDEN, text):
        problems.append(f"Leave out: {', '.join(forbidden)}.")
    if strange := strange_numbers(text, campaign.product, *campaign.offer):
        problems.append(f"The offer does not say {', '.join(strange)}.")
    if text.count("!") > 1 or _SHOUTED.search(text.replace(campaign.product, "")):
        problems.append("Do not shout.")
    if re.match(r"(re|fwd?)\s*:", text, re.IGNORECASE):
        problems.append("The subject must not look like an answer.")
    if has_placeholder(text):
        problems.append("Do not leave placeholders in brackets.")
    if said_twice(text):
        problems.append("Do not repeat yourself.")
    return problems


def outcome(campaign: Campaign) -> Literal["sound", "not sound"]:
    return "not sound" if campaign.problems else "sound"


@step("claims", model="judge")
def find_claims(campaign: Campaign) -> Ask[Annotated[list[Claim], Field(max_length=MOST_CLAIMS)]]:
    lines = "\n".join(f"{number}. {line}" for number, line in enumerate(campaign.offer, 1))
    return Ask(
        f"Offer:\n{lines}\n\nE-mail:\n{text_of(campaign.email)}\n\nCopy each claim that the e-mail makes of "
        "the product or its price, word for word, with the number of the line of the offer that backs it, "
        "or 0 if none does.",
        temperature=0,
        max_tokens=400,
    )


@rule("problems")
def check_claims(campaign: Campaign) -> list[str]:
    """Say which claims nothing backs, besides what code sees; a check that found no claim is none."""
    text = text_of(campaign.email)
    real = [claim for claim in campaign.claims if is_quoted(claim.quote, text, words=2)]
    problems = comply(campaign)
    if not real:
        problems.append("The claims could not be checked: none was named in words of the e-mail.")
    for claim in real:
        if not 1 <= claim.line <= len(campaign.offer):
            problems.append(f'Nothing in the offer backs "{claim.quote}".')
    return problems


@step("translation")
def translate(campaign: Campaign) -> Ask[Email]:
    return Ask(
        f"Translate into {campaign.language}, and leave the name {campaign.product} as it is:\n"
        f"{text_of(campaign.email)}",
        system="You translate e-mails.",
        temperature=0,
        max_tokens=400,
    )


@rule("problems")
def check_translation(campaign: Campaign) -> list[str]:
    """Say what is wrong with the translation, as far as code can see."""
    if campaign.language is None or campaign.translation is None:
        return []
    translated, source = text_of(campaign.translation), text_of(campaign.email)
    return translation_flaws(translated, source, campaign.language, keep=[campaign.product])


def target(campaign: Campaign) -> Literal["translate", "English"]:
    return "translate" if campaign.language else "English"


def sign(campaign: Campaign) -> dict[str, str]:
    """Add the sender and the unsubscribe link; the e-mail is ready then."""
    text = text_of(campaign.translation if campaign.language else campaign.email)
    footer = f"{FOOTERS[campaign.language or 'English']} {campaign.unsubscribe}"
    return {"ready": f"{text}\n\n{campaign.sender}\n{footer}", "status": "ready"}


def hold(_: Campaign) -> dict[str, Status]:
    """Hold the e-mail for a person."""
    return {"status": "held"}


writing = refine(
    draft, comply, until=lambda problems: not problems, score=lambda problems: -len(problems), rounds=3
)
release = route(outcome, {"sound": sign, "not sound": hold}, name="release")
foreign = chain(translate, gate(check_translation, none, repair=translate, tries=1, otherwise=hold), release)
finish = route(target, {"translate": foreign, "English": sign}, name="finish")
claims = chain(
    find_claims,
    gate(check_claims, none, repair=chain(draft, find_claims), tries=1, otherwise=hold),
    route(outcome, {"sound": finish, "not sound": hold}, name="after_claims"),
)
graph = chain(
    writing,
    route(outcome, {"sound": claims, "not sound": hold}, name="after_code"),
    name="marketing-email",
)
