"""A dialogue: each run on the thread is one turn; the thread remembers the ones before, over days.

    hear ─► fits? ─► intent ─► question, or nothing clear: answer ─► remember
              │ ▲             greeting, goodbye: no model
              no: condense the older turns into the summary

The newest turns stay word for word; what is older lives on in a summary that is at most so long, so a
prompt never grows past what the model takes, however long the dialogue.

    stepgraph run dialogue --thread ada --input text="I am Ada and I have a Nimbus blender." --model local
    stepgraph run dialogue --thread ada --input text="Which machine do I have?" --model local
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langgraph.graph.message import add_messages
from pydantic import StringConstraints

from ....nodes.ask import Ask
from ....nodes.neighbours import nearest
from ....nodes.splitting import estimate_tokens
from ....nodes.steps import step
from ....nodes.summaries import transcript
from ...engine.workflow import NodeLike
from ...patterns.chain import chain
from ...patterns.gate import gate
from ...patterns.route import route

# Of the turns in a prompt, as estimated; with the summary and the answer it fits a context window of 2048.
MAX_TOKENS = 900
KEPT_TOKENS = 400
MAX_SUMMARY = 1200  # characters

Intent = Literal["question", "greeting", "goodbye"]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]

PHRASES: dict[Intent, list[str]] = {
    "greeting": ["Hello!", "Hi there.", "Good morning.", "Hey, how are you?", "Good evening to you."],
    "goodbye": [
        "Goodbye.",
        "Thanks, that is all, bye.",
        "See you tomorrow.",
        "Good night.",
        "Thank you, bye!",
    ],
    "question": [
        "What is this for?",
        "How does it work and why?",
        "Can you explain that to me?",
        "My name is Ada and I live in London.",
        "I bought a new machine last week.",
        "What did I tell you before?",
        "Write me a short text about it.",
        "And what comes after that?",
        "Which one should I choose?",
        "No, I meant the other one.",
    ],
}


@dataclass
class Dialogue:
    """What is said now, and what the thread remembers."""

    text: Text
    messages: Annotated[list[AnyMessage], add_messages] = field(default_factory=list)
    summary: str = ""
    intent: Intent | None = None
    reply: str = ""


def hear(dialogue: Dialogue) -> dict[str, list[HumanMessage]]:
    """Take what was said into the turns."""
    return {"messages": [HumanMessage(dialogue.text)]}


def fits(dialogue: Dialogue) -> bool | str:
    """Tell whether the turns fit a prompt."""
    size = _tokens(dialogue.messages)
    return size <= MAX_TOKENS or f"the turns have {size} tokens, more than {MAX_TOKENS}."


def _tokens(messages: list[AnyMessage]) -> int:
    return sum(estimate_tokens(str(message.content)) for message in messages)


def older(messages: list[AnyMessage]) -> list[AnyMessage]:
    """Return what comes before the newest whole turns; what was said just now always stays."""
    start = len(messages) - 1
    while start > 0 and _tokens(messages[start - 1 :]) <= KEPT_TOKENS:
        start -= 1
    while start < len(messages) - 1 and not isinstance(messages[start], HumanMessage):
        start += 1
    return messages[:start]


@step("summary", model="small")
def summarise(dialogue: Dialogue) -> Ask[str]:
    talk = transcript(older(dialogue.messages))
    before = f"Known so far: {dialogue.summary}\n" if dialogue.summary else ""
    return Ask(
        f"{before}{talk}\n\nSum up in at most five sentences what is known about the user and what was "
        "talked about. Keep names, numbers and wishes.",
        temperature=0,
        max_tokens=200,
    )


def forget(dialogue: Dialogue) -> dict[str, object]:
    """Drop the turns that the summary stands for."""
    gone = [RemoveMessage(id=str(message.id)) for message in older(dialogue.messages)]
    return {"messages": gone, "summary": dialogue.summary[:MAX_SUMMARY]}


@nearest(PHRASES, writes="intent")
def intent(dialogue: Dialogue) -> str:
    return dialogue.text


@step("reply")
def answer(dialogue: Dialogue) -> Ask[str]:
    known = f" What you know from before: {dialogue.summary}" if dialogue.summary else ""
    return Ask(
        dialogue.messages,
        system=f"You are a helpful assistant. You answer in at most three sentences.{known}",
        max_tokens=200,
    )


def greet(dialogue: Dialogue) -> dict[str, str]:
    again = len(dialogue.messages) > 1 or dialogue.summary
    return {"reply": "Welcome back! What can I do for you?" if again else "Hello! What can I do for you?"}


def take_leave(_: Dialogue) -> dict[str, str]:
    return {"reply": "Goodbye! I will remember what we talked about."}


def remember(dialogue: Dialogue) -> dict[str, list[AIMessage]]:
    """Take the reply into the turns."""
    return {"messages": [AIMessage(dialogue.reply)]}


ways: dict[Intent, NodeLike[Dialogue]] = {"question": answer, "greeting": greet, "goodbye": take_leave}
graph = chain(
    hear,
    gate(fits, otherwise=chain(summarise, forget, name="condense")),
    route(intent, ways, fallback=answer, min_confidence=0.85, name="respond"),
    remember,
    name="dialogue",
)
