"""From an OpenAI-style completion, whole or in chunks, to a reply; nothing in it is taken on trust."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..model import Reply, Usage
from ..provider_table import Capabilities
from .finish import checked_finish
from .http import MalformedBody, choices_in
from .message_state import joined
from .standard_blocks import AudioDraft, Block, blocks_in, kept_blocks
from .tool_calls import ToolCallDrafts
from .usages import believable, count_in, read_cost, read_usage, value_at

OPEN, CLOSE = "<think>", "</think>"


def read_completion(answer: Mapping[str, Any], can: Capabilities, asked: str) -> Reply:
    """Return the reply that a whole completion holds. Raises MalformedBody if it holds none."""
    choice = next(iter(choices_in(answer)), None)
    message = choice.get("message") if choice else None
    if choice is None or not isinstance(message, Mapping):
        raise MalformedBody("the answer has no choices")
    return PartialCompletion(can, asked).take(answer).add(message, choice.get("finish_reason")).reply()


@dataclass
class PartialCompletion:
    """A completion that is still coming in: in one piece, or chunk by chunk."""

    can: Capabilities
    model: str
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    tool_calls: ToolCallDrafts = field(default_factory=ToolCallDrafts)
    state: dict[str, list[Any]] = field(default_factory=dict)  # in pieces
    media: list[Block] = field(default_factory=list)
    audio: AudioDraft = field(default_factory=AudioDraft)

    def take(self, part: Mapping[str, Any]) -> PartialCompletion:
        """Note what a completion or chunk says outside of its choices."""
        if isinstance(part.get("model"), str) and part["model"]:
            self.model = part["model"]
        if isinstance(part.get("usage"), Mapping):
            self.usage = part["usage"]
        return self

    def chunk(self, part: Mapping[str, Any]) -> tuple[str, str]:
        """Add a streamed chunk; return the text and the reasoning that are new in it."""
        self.take(part)
        texts, thoughts = len(self.text), len(self.reasoning)
        for choice in choices_in(part):
            if choice.get("index", 0) not in (0, None):
                continue
            delta = choice.get("delta") or choice.get("message") or {}
            self.add(delta, choice.get("finish_reason"))
        return "".join(self.text[texts:]), "".join(self.reasoning[thoughts:])

    def add(self, message: Any, finish_reason: Any) -> PartialCompletion:
        """Add what a message or a delta holds."""
        if not isinstance(message, Mapping):
            raise MalformedBody(f"a message of type {type(message).__name__}")
        self.text.append(text_in(message.get("content")) or self.audio.add(message.get("audio")))
        self.media += blocks_in(message.get("content")) + blocks_in(message.get("images"))
        self.refusal.append(text_in(message.get("refusal")))
        thought = (text_in(message.get(name)) for name in self.can.reasoning)
        self.reasoning.append(next(filter(None, thought), ""))
        calls = message.get("tool_calls") or ()
        for place, call in enumerate(calls if isinstance(calls, list) else ()):
            if not isinstance(call, Mapping):
                raise MalformedBody("a tool call that is no object")
            self.tool_calls.add(call, place)
        self._note_state(message)
        if isinstance(finish_reason, str) and finish_reason:
            self.finish_reason = finish_reason
        return self

    def _note_state(self, message: Mapping[str, Any]) -> None:
        for name in self.can.echo:
            if message.get(name):
                self.state.setdefault(name, []).append(message[name])

    def reply(self) -> Reply:
        """Return the answer. Raises MalformedBody or HTTPStatusError if it is not whole."""
        finish = checked_finish(self.finish_reason, always=self.can.always_finishes, known=self.can.finish)
        text, thought = split_thought("".join(self.text))
        refusal = "".join(self.refusal)
        return Reply(
            text=text or refusal,
            model=self.model,
            usage=_usage(self.usage, self.can, answered=bool(text)),
            reasoning="".join(self.reasoning) or thought or None,
            finish_reason="refusal" if refusal and not text else finish,
            cost_usd=_cost(self.usage, self.can),
            tool_calls=self.tool_calls.calls(self.can.echo),
            state={name: joined(pieces) for name, pieces in self.state.items()},
            media=kept_blocks([*self.media, *self.audio.blocks()]),
        )


def text_in(content: Any) -> str:
    """Return the text of a message's content: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") if isinstance(part, Mapping) else part for part in content)
        return "".join(part for part in parts if isinstance(part, str))
    return ""


def split_thought(text: str) -> tuple[str, str]:
    """Return the answer and the thought that <think> tags at its beginning hold.

    Some chat templates give the opening tag themselves, so the answer has only the closing one.
    """
    stripped = text.lstrip()
    if stripped.startswith(OPEN):
        thought, _, answer = stripped.removeprefix(OPEN).partition(CLOSE)
        return answer.lstrip(), thought.strip()
    if CLOSE in text and OPEN not in text:
        thought, _, answer = text.partition(CLOSE)
        return answer.lstrip(), thought.strip()
    return text, ""


class ThoughtSplitter:
    """Tells answer from thought in a stream whose text begins with a <think> tag."""

    def __init__(self) -> None:
        self._blank: list[str] = []  # before anything else
        self._held = ""
        self._state = "start"

    def feed(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield (answer, thought) for what is certain so far."""
        if self._state == "answer":
            yield text, ""
            return
        if self._state == "start":
            if not self._held:
                begun = text.lstrip()
                self._blank.append(text[: len(text) - len(begun)])
                text = begun
            self._held += text
            if self._held.startswith(OPEN):
                self._state, text, self._held = "thought", self._held.removeprefix(OPEN), ""
            elif OPEN.startswith(self._held):
                return
            else:
                self._state = "answer"
                yield "".join((*self._blank, self._held)), ""
                return
        self._held += text
        thought, closing, answer = self._held.partition(CLOSE)
        if closing:
            self._state = "answer"
            yield answer.lstrip(), thought
        else:
            keep = next((n for n in range(len(CLOSE) - 1, 0, -1) if self._held.endswith(CLOSE[:n])), 0)
            cut = len(self._held) - keep
            sure, self._held = self._held[:cut], self._held[cut:]
            yield "", sure

    def rest(self) -> tuple[str, str]:
        """Return what was held back until the end."""
        held, self._held = self._held, ""
        if self._state == "answer":
            return "", ""
        return ("", held) if self._state == "thought" else ("".join((*self._blank, held)), "")


def _usage(raw: Mapping[str, Any], can: Capabilities, *, answered: bool) -> Usage:
    """Return the token counts; a count that cannot be is unknown, like one that is missing."""
    usage = believable(read_usage(raw), answered=answered)
    cached = count_in(raw, *can.cached) if usage.cached is None else usage.cached
    return replace(usage, cached=_part(cached, usage.input))


def _part(part: int | None, whole: int | None) -> int | None:
    return part if part is None or whole is None else min(part, whole)


def _cost(raw: Mapping[str, Any], can: Capabilities) -> float | None:
    """Return the cost in US dollars that the provider itself names."""
    cost = read_cost(raw)
    return read_cost({"cost": value_at(raw, can.cost)}) if cost is None and can.cost else cost
