"""The sentiment vote: two prompts, three draws each, and UNCERTAIN where they do not agree.

    has words ─► 3 x labels one way round, 3 x the other ─► quote in the text? ─► 5 of 6 agree ─► sentiment
              └► UNCERTAIN                                    no: UNCERTAIN        else UNCERTAIN

A model that picks the first label of the list, whatever the text, contradicts itself between the two prompts
and cannot win. Every ballot must quote the words that it goes by, and code looks whether they are there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, StringConstraints

from ....nodes.ask import Ask
from ....nodes.steps import step
from ...patterns.chain import chain
from ...patterns.route import route
from ...patterns.vote import Tally, vote
from ..text_checks import is_quoted

Mood = Literal["positive", "negative", "mixed"]
Sentiment = Literal["new", "positive", "negative", "mixed", "UNCERTAIN"]

UNCERTAIN = "UNCERTAIN"
DRAWS = 3
NEEDED = 5


class Opinion(BaseModel):
    """One ballot: the words that it goes by, and the mood that they show."""

    quote: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
    mood: Mood


@dataclass
class CustomerRemark:
    """What somebody wrote, and how it was meant."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
    opinion: Opinion | None = None
    tally: Tally | None = None
    sentiment: Sentiment = "new"
    explanation: str = ""


@step("opinion", model="small")
def one_way(remark: CustomerRemark) -> Ask[Opinion]:
    return _question(remark, "positive, negative or mixed")


@step("opinion", model="small")
def other_way(remark: CustomerRemark) -> Ask[Opinion]:
    return _question(remark, "mixed, negative or positive")


def _question(remark: CustomerRemark, labels: str) -> Ask[Opinion]:
    return Ask(
        f"Text: {remark.text}\n\nCopy the few words of the text that show the writer's mood, and say "
        f"whether it is {labels}.",
        temperature=0.8,
        max_tokens=100,
    )


def check_quote(remark: CustomerRemark) -> dict[str, Opinion | None]:
    """Void a ballot that goes by words which are not in the text."""
    opinion = remark.opinion
    return {"opinion": opinion if opinion and is_quoted(opinion.quote, remark.text) else None}


def readable(remark: CustomerRemark) -> Literal["words", "no words"]:
    return "words" if re.search(r"[^\W\d_]{2}", remark.text) else "no words"


def mood_of(opinion: Opinion | None) -> str:
    return opinion.mood if opinion else UNCERTAIN


def conclude(remark: CustomerRemark) -> dict[str, str]:
    """Say what the majority said, by which words, and how the vote went."""
    tally = remark.tally
    if tally is None:
        return {"sentiment": UNCERTAIN, "explanation": "There are no words to go by."}
    counts = ", ".join(f"{votes} x {mood}" for mood, votes in tally.counts.items())
    text = f"{counts}; {NEEDED} of {tally.asked} are needed."
    if tally.failed:
        text += f" {len(tally.failed)} gave no answer."
    if remark.opinion is not None:
        text += f' It goes by "{remark.opinion.quote}".'
    return {"sentiment": mood_of(remark.opinion), "explanation": f"{text} {tally.warning}".strip()}


ballot = vote(
    [chain(one_way, check_quote), chain(other_way, check_quote)],
    DRAWS,
    field="opinion",
    needed=NEEDED,
    key=mood_of,
    tally="tally",
)
graph = route(readable, {"words": chain(ballot, conclude), "no words": conclude}, name="sentiment")
