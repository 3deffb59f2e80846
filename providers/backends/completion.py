"""From an OpenAI-style completion, whole or in chunks, to a reply; nothing in it is taken on trust."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..model import Reply, Usage
from ..provider_table import Capabilities
from .finish import checked_calls, checked_finish, last_finish
from .http import HTTPStatusError, MalformedBody, choices_in, status_in
from .message_state import joined
from .standard_blocks import AudioDraft, Block, blocks_in, kept_blocks
from .tool_calls import ToolCallDrafts, without_cut
from .usages import believable, count_in, read_cost, read_usage, value_at

OPEN, CLOSE = "<think>", "</think>"


def read_completion(answer: Mapping[str, Any], can: Capabilities, model: str) -> Reply:
    """Return the reply that a whole completion holds. Raises MalformedBody if it holds none."""
    choices = choices_in(answer)
    choice = next(filter(_is_first, choices), next(iter(choices), None))
    message = choice.get("message") if choice else None
    if choice is None or not isinstance(message, Mapping):
        raise MalformedBody("the answer has no choices")
    return PartialCompletion(can, model).take(answer).add(message, choice.get("finish_reason")).reply()


def _is_first(choice: Mapping[str, Any]) -> bool:
    return choice.get("index", 0) in (0, None, "0")


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
    _half: str = ""

    def take(self, part: Mapping[str, Any]) -> PartialCompletion:
        """Note what a completion or chunk says outside of its choices."""
        if isinstance(part.get("model"), str) and part["model"]:
            self.model = part["model"]
        self._count(part.get("usage"))
        return self

    def _count(self, usage: Any) -> None:
        """Note counts, each of which is the whole so far: a later one stands for an earlier one."""
        if isinstance(usage, Mapping):
            counts = {name: value for name, value in usage.items() if value is not None}
            self.usage = {**self.usage, **counts} if self.usage else counts

    def chunk(self, part: Mapping[str, Any]) -> tuple[str, str]:
        """Add a streamed chunk; return the text and the reasoning that are new in it."""
        self.take(part)
        texts, thoughts = len(self.text), len(self.reasoning)
        for choice in choices_in(part):
            if not _is_first(choice):
                continue
            delta = choice.get("delta") or choice.get("message") or {}
            if not delta and choice.get("text"):
                raise MalformedBody("it has the form of the older completions, not of a chat's")
            self._count(choice.get("usage"))  # where Moonshot has it
            self.add(delta, choice.get("finish_reason"))
        return self._whole_text(texts), "".join(self.reasoning[thoughts:])

    def _whole_text(self, begin: int) -> str:
        """Return the text from a piece on, without half a character at its end, which the next piece gets.

        Servers that count in UTF-16 cut within characters.
        """
        text = "".join(self.text[begin:])
        if text.isascii() and not self._half:
            return text
        text, self._half = self._half + text, ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return with_pairs(text)

    def add(self, message: Any, finish_reason: Any) -> PartialCompletion:
        """Add what a message or a delta holds."""
        if not isinstance(message, Mapping):
            raise MalformedBody(f"a message of type {type(message).__name__}")
        if message.get("error"):
            raise HTTPStatusError(status_in(message["error"]), {"error": message["error"]}, {})
        content = message.get("content")
        if content is not None and not isinstance(content, (str, list)):
            raise MalformedBody(f"a content of type {type(content).__name__}")
        self.text.append(text_in(content) or self.audio.add(message.get("audio")))
        self.media += blocks_in(content) + blocks_in(message.get("images"))
        self.refusal.append(text_in(message.get("refusal")))
        for name in self.can.reasoning:
            if thought := text_in(message.get(name)):
                self.reasoning.append(thought)
                break
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list):
            raise MalformedBody(f"tool calls of type {type(calls).__name__}")
        for place, call in enumerate(calls):
            if not isinstance(call, Mapping):
                raise MalformedBody("a tool call that is no object")
            self.tool_calls.add(call, place)
        if isinstance(message.get("function_call"), Mapping):  # as it was called before there were tools
            self.tool_calls.add({"index": 0, "function": message["function_call"]})
        self._note_state(message)
        if isinstance(finish_reason, str) and finish_reason:
            self.finish_reason = last_finish(self.finish_reason, finish_reason)
        return self

    def _note_state(self, message: Mapping[str, Any]) -> None:
        for name in self.can.echo:
            value = message.get(name)
            if value or value == "":  # DeepSeek refuses a tool's call without the thought, also an empty one
                self.state.setdefault(name, []).append(value)

    def reply(self) -> Reply:
        """Return the answer. Raises MalformedBody or HTTPStatusError if it is not whole."""
        finish = checked_finish(self.finish_reason, always=self.can.always_finishes, known=self.can.finish)
        calls = self.tool_calls.calls(self.can.echo) if self.tool_calls else ()
        checked_calls(finish, calls)
        calls = without_cut(finish, calls) if calls else calls
        text, thought = split_thought(with_pairs("".join(self.text)))
        refusal = "".join(self.refusal)
        media = [*self.media, *self.audio.blocks()]
        return Reply(
            text=text or refusal,
            model=self.model,
            usage=_usage(self.usage, self.can, answered=bool(text)),
            reasoning="".join(self.reasoning) or thought or None,
            finish_reason="refusal" if refusal and not text else finish,
            cost_usd=_cost(self.usage, self.can),
            tool_calls=calls,
            state={name: joined(pieces) for name, pieces in self.state.items()},
            media=kept_blocks(media) if media else (),
        )


def with_pairs(text: str) -> str:
    """Return the text with those characters whole whose halves came apart."""
    if text.isascii() or not _HALVES.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


_HALVES = re.compile("[\ud800-\udbff][\udc00-\udfff]")


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
        if self._state == "closed":
            text = text.lstrip()
            self._state = "answer" if text else "closed"
        if self._state in ("answer", "closed"):
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
            answer = answer.lstrip()
            self._state = "answer" if answer else "closed"
            yield answer, thought
        else:
            keep = next((n for n in range(len(CLOSE) - 1, 0, -1) if self._held.endswith(CLOSE[:n])), 0)
            cut = len(self._held) - keep
            sure, self._held = self._held[:cut], self._held[cut:]
            yield "", sure

    def rest(self) -> tuple[str, str]:
        """Return what was held back until the end."""
        held, self._held = self._held, ""
        if self._state in ("answer", "closed"):
            return "", ""
        return ("", held) if self._state == "thought" else ("".join((*self._blank, held)), "")


def _usage(raw: Mapping[str, Any], can: Capabilities, *, answered: bool) -> Usage:
    """Return the token counts; a count that cannot be is unknown, like one that is missing."""
    usage = believable(read_usage(raw), answered=answered)
    cached = count_in(raw, *can.cached) if usage.cached is None else usage.cached
    cached = _part(cached, usage.input)
    return usage if cached == usage.cached else replace(usage, cached=cached)


def _part(part: int | None, whole: int | None) -> int | None:
    return part if part is None or whole is None else min(part, whole)


def _cost(raw: Mapping[str, Any], can: Capabilities) -> float | None:
    """Return the cost in US dollars that the provider itself names."""
    cost = read_cost(raw)
    return read_cost({"cost": value_at(raw, can.cost)}) if cost is None and can.cost else cost
