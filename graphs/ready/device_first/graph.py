"""Questions about a text of yours: the model on this machine first, one in the cloud where that will not do.

    kind ─► look up  on the device ─► backed by the text? ── yes ─────────────────► close
      │                               └ no: in the cloud ─► backed by the text? ─┘
      └──► think     in the cloud ─► second look by another model ─ disputed: hold ─► close

Embeddings classify, so a plain question costs one call on this machine, and the text does not leave it.
What the small model says must stand in the text, which code checks: it is often sure and wrong. What
asks for thought goes to the cloud at once, and its answer is checked by a second model.

    stepgraph run device-first --input examples/questions.jsonl \\
        --model device=local --model cloud=openai:gpt-5-mini --model judge=openai:gpt-5

With `private`, nothing goes to the cloud: what this machine cannot answer is held.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from ....nodes.ask import Ask
from ....nodes.neighbours import nearest
from ....nodes.rules import rule
from ....nodes.steps import step
from ...patterns.cascade import cascade
from ...patterns.chain import chain
from ...patterns.route import route
from ...patterns.verify import verify
from ..few_shot import few_shot

BACKED = 0.7  # share of the answer's content words that the text or the question has
MAX_ANSWER = 300  # characters of what was looked up

Kind = Literal["look up", "think"]
Status = Literal["new", "answered", "held"]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
Asked = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=500)]

PHRASES: dict[Kind, list[str]] = {
    "look up": [
        "When does it start?",
        "Where do we meet?",
        "Who is coming along?",
        "What is the number of the room?",
        "How much does it cost?",
        "Which day was it sent?",
        "What is her name?",
        "How many people are there?",
    ],
    "think": [
        "Why did they decide that, and what follows from it?",
        "Compare the two plans and say which is better.",
        "What would you do in their place?",
        "Write a polite reply to this.",
        "Explain the reasons behind it step by step.",
        "What are the risks, and how can we avoid them?",
        "Plan the next three weeks from this.",
        "Is the argument in the text right?",
    ],
}


class SecondLook(BaseModel):
    """What the second model finds."""

    correct: bool
    why: Annotated[str, Field(max_length=300)] = ""


@dataclass
class Question:
    """A text, what somebody wants to know about it, and what comes of it."""

    text: Text
    question: Asked
    private: bool = False
    answer: str = ""
    answered_by: Literal["", "device", "cloud"] = ""
    problems: list[str] = field(default_factory=list)
    second: SecondLook | None = None
    status: Status = "new"


@nearest(PHRASES)
def kind(question: Question) -> str:
    return question.question


def is_private(question: Question) -> Literal["private", "open"]:
    return "private" if question.private else "open"


SHOWN = "The ferry to Hven leaves at nine from pier 4. Anna has the tickets."
EXAMPLES = [
    (f"Text: {SHOWN}\nQuestion: When does the ferry leave?", "The ferry leaves at nine."),
    (f"Text: {SHOWN}\nQuestion: Who has the tickets?", "Anna has the tickets."),
]


@step("answer", model="device")
def look_up(question: Question) -> Ask[str]:
    return Ask(
        few_shot(EXAMPLES, f"Text: {question.text}\nQuestion: {question.question}"),
        system="You answer questions about a text, with one short sentence, from the text alone.",
        temperature=0,
        max_tokens=60,
    )


@step("answer", model="cloud")
def think(question: Question) -> Ask[str]:
    return Ask(
        f"Text: {question.text}\n\n{question.question}",
        system="You answer from the text, in at most five sentences. Say so if the text is not enough.",
        max_tokens=400,
    )


@step("second", model="judge")
def second_look(question: Question) -> Ask[SecondLook]:
    return Ask(
        f"Text: {question.text}\n\nQuestion: {question.question}\n\nAnswer: {question.answer}\n\n"
        "Is the answer right, and backed by the text? If not, say why in one sentence.",
        max_tokens=200,
    )


def on_device(_: Question) -> dict[str, str]:
    return {"answered_by": "device"}


def in_cloud(_: Question) -> dict[str, str]:
    return {"answered_by": "cloud"}


_WORD = re.compile(r"\d+(?:[:.,]\d+)+|[^\W_]+")  # 14:00 is one word, and 14 another one
_SMALL_WORDS = frozenset(
    "a an and are at be by do does for from has have he her his i in is it its of on or she that the their "
    "they this to was we were will with you your".split()
)


def content_words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower())) - _SMALL_WORDS


@rule("problems")
def backed(question: Question) -> list[str]:
    """Say why an answer that was looked up will not do: numbers or words that the text does not have."""
    answer_words, known = content_words(question.answer), content_words(question.text)
    problems = []
    if strange := sorted(word for word in answer_words - known if any(map(str.isdigit, word))):
        problems.append(f"The text does not say {', '.join(strange)}.")
    question_words = content_words(question.question)
    if answer_words and len(answer_words & (known | question_words)) / len(answer_words) < BACKED:
        problems.append("The text does not back the answer.")
    if not answer_words & (known - question_words):
        problems.append("It tells nothing from the text.")
    if len(question.answer) > MAX_ANSWER:
        problems.append("It is too long.")
    return problems


def close(question: Question) -> dict[str, Status]:
    """Hold what is not backed, or disputed by the second look."""
    disputed = question.second is not None and not question.second.correct
    return {"status": "held" if question.problems or disputed else "answered"}


def hold(_: Question) -> dict[str, object]:
    """Leave a disputed answer as it is; `close` holds it."""
    return {}


device = chain(look_up, on_device, name="device")
cloud = chain(look_up.on("cloud"), in_cloud, name="cloud")
looked_up = cascade(device, cloud, check=backed, accept=lambda problems: not problems or " ".join(problems))
thought = verify(
    chain(think, in_cloud, name="thinking"),
    second_look,
    agrees=lambda look: look.correct or look.why,
    otherwise=hold,
)
either = route(
    kind,
    {"look up": chain(looked_up, backed), "think": thought},
    fallback=thought,
    min_confidence=0.5,
    name="open",
)
graph = chain(
    route(is_private, {"private": chain(device, backed), "open": either}, name="where"),
    close,
    name="device-first",
)
