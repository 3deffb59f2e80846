"""Product descriptions: drafted from facts, checked by code, held against the brand's rules, translated.

    draft ─► code gates ─► brand check ─► translate ─► code gates ─► ready
      ▲ 2 x ─┘   │      (judge) │ 1 x: draft again      │ 1 x: again
                 └──────────────┴───────────────────────┴─► held, with the problems

What code can check it checks first, because that is free and certain. The brand check must rule on
every rule of the brand and quote the words that it goes by; a ruling on words that are not in the text
does not count, and a text that nobody could judge is held.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from ....nodes.ask import Ask
from ....nodes.rules import rule
from ....nodes.steps import step
from ...patterns.chain import chain
from ...patterns.gate import gate
from ...patterns.route import route
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

MIN_CHARACTERS, MAX_CHARACTERS = 60, 500
LOUD = ("best", "perfect", "revolutionary", "guaranteed", "world-class", "unique", "amazing", "number one")
# What to hold a text against, unless the brand has words of its own.
RULES = ["It speaks to the reader as you.", "It is calm and factual."]

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=160)]


class BrandVerdict(BaseModel):
    """Whether the text keeps one rule of the brand, and the words that show it."""

    rule: int = Field(ge=1, le=6)
    kept: bool
    quote: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=120)]


@dataclass
class Product:
    """A product's facts and its brand's rules, and the text that is made of them."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=80)]
    facts: Annotated[list[Line], Field(min_length=1, max_length=8)]
    avoid: list[str] = field(default_factory=list)
    rules: Annotated[list[Line], Field(min_length=1, max_length=6)] = field(default_factory=lambda: [*RULES])
    language: Language | None = None
    text: str = ""
    rulings: list[BrandVerdict] = field(default_factory=list)
    translation: str = ""
    problems: list[str] = field(default_factory=list)
    status: Status = "new"


@step("text")
def draft(product: Product) -> Ask[str]:
    """Ask for the text; after an objection of the brand check, with that."""
    broken = [
        product.rules[ruling.rule - 1]
        for ruling in product.rulings
        if not ruling.kept and _is_there(ruling, product)
    ]
    again = f"\nThe last text broke this: {' '.join(broken)}\nIt was: {product.text}" if broken else ""
    return Ask(
        f"Product: {product.name}\nFacts: {' '.join(product.facts)}\nWrite two or three sentences that "
        f"describe it to a customer. Tell the facts and nothing else. {' '.join(product.rules)}{again}",
        system="You write plain product descriptions.",
        temperature=0.3,
        max_tokens=150,
    )


@rule("problems")
def check_text(product: Product) -> list[str]:
    """Say what is wrong with the text, as far as code can see."""
    text, facts = product.text, " ".join([product.name, *product.facts])
    problems = []
    if not is_quoted(product.name, text):
        problems.append(f"Name the product: {product.name}.")
    if loud := found_words([*LOUD, *product.avoid], text):
        problems.append(f"Leave out: {', '.join(loud)}.")
    if strange := strange_numbers(text, facts):
        problems.append(f"The facts do not say {', '.join(strange)}.")
    if has_placeholder(text):
        problems.append("Do not leave placeholders in brackets.")
    if said_twice(text):
        problems.append("Do not repeat yourself.")
    if text.count("!") > 0:
        problems.append("Use no exclamation marks.")
    if not MIN_CHARACTERS <= len(text) <= MAX_CHARACTERS:
        problems.append(f"Write between {MIN_CHARACTERS} and {MAX_CHARACTERS} characters.")
    return problems


@step("rulings", model="judge")
def judge_brand(product: Product) -> Ask[Annotated[list[BrandVerdict], Field(max_length=6)]]:
    rules = "\n".join(f"{number}. {text}" for number, text in enumerate(product.rules, 1))
    return Ask(
        f"Text: {product.text}\n\nRules:\n{rules}\n\nFor each rule, by its number, say whether "
        "the text keeps it, and copy the words of the text that show it.",
        temperature=0,
        max_tokens=300,
    )


@rule("problems")
def check_brand(product: Product) -> list[str]:
    """Say which rules are broken, and which ones nobody ruled on with words that are in the text."""
    ruled = {ruling.rule: ruling for ruling in product.rulings if _is_there(ruling, product)}
    problems = check_text(product)
    for number, text in enumerate(product.rules, 1):
        if number not in ruled:
            problems.append(f'The brand check did not rule on "{text}" with words of the text.')
        elif not ruled[number].kept:
            problems.append(f'"{ruled[number].quote}" breaks the rule "{text}"')
    return problems


def _is_there(ruling: BrandVerdict, product: Product) -> bool:
    return ruling.rule <= len(product.rules) and is_quoted(ruling.quote, product.text, words=2)


@step("translation")
def translate(product: Product) -> Ask[str]:
    return Ask(
        f"Translate into {product.language}, and leave the name {product.name} as it is:\n{product.text}",
        system="You translate. You answer with the translation and nothing else.",
        temperature=0,
        max_tokens=250,
    )


@rule("problems")
def check_translation(product: Product) -> list[str]:
    """Say what is wrong with the translation, as far as code can see."""
    if product.language is None:
        return []
    return translation_flaws(product.translation, product.text, product.language, keep=[product.name])


def hold(_: Product) -> dict[str, Status]:
    """Hold the text for a person."""
    return {"status": "held"}


def go_on(product: Product) -> Literal["held", "ready", "translate"]:
    if product.status == "held":
        return "held"
    return "translate" if product.language and not product.translation else "ready"


def release(_: Product) -> dict[str, Status]:
    """Release what passed every check."""
    return {"status": "ready"}


in_other_words = chain(
    translate,
    gate(check_translation, none, repair=translate, tries=1, otherwise=hold),
    route(go_on, {"held": hold, "ready": release}, fallback=hold, name="after_translation"),
)
brand = chain(
    judge_brand,
    gate(check_brand, none, repair=chain(draft, judge_brand), tries=1, otherwise=hold),
    route(go_on, {"held": hold, "ready": release, "translate": in_other_words}, name="after_brand"),
)
graph = chain(
    draft,
    gate(check_text, none, repair=draft, tries=2, otherwise=hold),
    route(go_on, {"held": hold}, fallback=brand, name="after_code"),
    name="product-description",
)
