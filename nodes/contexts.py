"""What an agent's model is shown of a long conversation: all that fits, and where the rest is found again.

The conversation itself stays whole in the thread. First the oldest results of tools are left out, each with
a note in its place; then whole turns, the oldest first, a call always together with its results. Room is
made for several turns at once, so that what comes before stays the same and can be cached.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import Runnable

from ..providers.model import Model
from ..state.errors import DefinitionError
from ..state.json_text import json_text
from ..state.serde import allow
from .excerpts import Excerpts

READ: Final = "read_earlier"
PAGE_CHARS: Final = 4_000
FOUND: Final = 6  # excerpts of a search
EXCERPT_CHARS: Final = 240
BEGIN_CHARS: Final = 60
LEAST: Final = 1_000  # tokens

READ_SCHEMA: Final[Mapping[str, Any]] = {
    "name": READ,
    "description": "Read again what was left out of this conversation: the result of an earlier call by its "
    "id, page by page, or what was said about some words anywhere before.",
    "parameters": {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "The id of a call."},
            "search": {"type": "string", "description": "Words to look for."},
            "page": {"type": "integer", "description": "Which page, from 1.", "default": 1},
        },
    },
}

READ_LINES_SCHEMA: Final[Mapping[str, Any]] = {
    **READ_SCHEMA,
    "parameters": {
        "type": "object",
        "properties": {
            **READ_SCHEMA["parameters"]["properties"],
            "lines": {"type": "string", "description": "Which lines of the result, as 40-180."},
        },
    },
}


@dataclass(frozen=True)
class Context:
    """How many tokens a call of an agent may have, its answer included: the conversation is made to fit.

    They are counted by the model's tokenizer where there is one; else a byte counts as a token. The oldest
    results of tools are left out first, then the oldest turns; the model can read them again with a tool,
    `read_earlier`, by the call's id or by words. `summary` is a role or a model that sums up the turns which
    are left out; without one, a list of their calls stands in their place.

    With `compress`, the model is shown of a long result the lines that the question and its call need, whole
    and with their numbers, and not its first characters. It reads others by their numbers.

        agent(help, tools=[search], turns=200, context=Context(tokens=32_000))
    """

    tokens: int
    summary: str | Model | Runnable[Any, Any] | None = None
    compress: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.tokens, int) or self.tokens < LEAST:
            raise DefinitionError(f"Context(tokens={self.tokens!r}): expected a number, at least {LEAST:,}.")


@dataclass(frozen=True)
class LeftOut:
    """What is left out of a conversation: results before one message, and turns before another.

    `chars` is how much is shown of a result that is not left out.
    """

    results: int = 0
    turns: int = 0
    chars: int = 0
    summary: str = ""


allow(LeftOut)


def shown(
    messages: Sequence[AnyMessage], out: LeftOut, room: int, excerpts: Excerpts | None = None
) -> list[AnyMessage]:
    """Return the messages as the model gets them; a list of what is left out takes at most `room` bytes.

    With `excerpts`, long results are compressed, and not cut.
    """
    pinned = _pinned(messages)
    view: list[AnyMessage] = []
    for place, message in enumerate(messages):
        if place < out.turns and place not in pinned:
            continue
        if isinstance(message, ToolMessage):
            excerpt = None
            if excerpts is not None and place >= out.results and _is_long(message, out.chars):
                excerpt = excerpts.of(message, text_of(message), messages[:place], out.chars)
            view.append(_result(message, excerpt, left_out=place < out.results, chars=out.chars))
        else:
            view.append(message)
    if out.turns:
        gone = [message for place, message in enumerate(messages[: out.turns]) if place not in pinned]
        _add_note(view, _note(gone, out.summary, room))
    return view


def _pinned(messages: Sequence[AnyMessage]) -> set[int]:
    """Return the places of what always stays: the instructions, and the question itself."""
    pinned = set()
    for place, message in enumerate(messages):
        if not isinstance(message, SystemMessage):
            break
        pinned.add(place)
    questions = [
        place
        for place, message in enumerate(messages)
        if isinstance(message, HumanMessage) and str(message.id).startswith("question-")
    ]
    return pinned | set(questions[-1:])


def boundaries(messages: Sequence[AnyMessage]) -> list[int]:
    """Return where turns begin: what is left out ends there, so that no call is parted from its results."""
    question = max(_pinned(messages), default=0)
    return [
        place
        for place, message in enumerate(messages)
        if (isinstance(message, AIMessage) and place > question)
        or (isinstance(message, HumanMessage) and place <= question)
    ]


def _is_long(message: ToolMessage, chars: int) -> bool:
    return bool(chars) and len(text_of(message)) > chars and not _has_media(message)


def _result(message: ToolMessage, excerpt: str | None, *, left_out: bool, chars: int) -> AnyMessage:
    text = text_of(message)
    if not left_out:
        if not _is_long(message, chars):
            return message
        if excerpt is not None:
            count, _, lines = excerpt.partition("\n")
            how = f'{READ}(id="{message.tool_call_id}", lines="40-180") has the others'
            mark = f"[{count} are shown; @n is the number of the line below it; {how}]"
            return message.model_copy(update={"content": f"{mark}\n{lines}"})
        mark = (
            f'[{chars:,} of {len(text):,} characters are shown; {READ}(id="{message.tool_call_id}") has all]'
        )
        return message.model_copy(update={"content": f"{text[:chars]}\n{mark}"})
    begin = " ".join(text[:BEGIN_CHARS].split())
    stub = f'[left out: {len(text):,} characters, {READ}(id="{message.tool_call_id}"); they begin: {begin}]'
    if len(stub) >= len(text) and not _has_media(message):
        return message
    return message.model_copy(update={"content": stub})


def _has_media(message: AnyMessage) -> bool:
    parts = message.content if isinstance(message.content, list) else []
    return any(isinstance(part, Mapping) and part.get("type") not in ("text", None) for part in parts)


def text_of(message: AnyMessage) -> str:
    """Return a message as text."""
    content = message.content
    if isinstance(content, str):
        return content
    parts = [part if isinstance(part, str) else part.get("text") for part in content]
    return "\n".join(part if isinstance(part, str) else "[not text]" for part in parts)


def _note(gone: Sequence[AnyMessage], summary: str, room: int) -> str:
    lines, size = [], 0
    every = [line for message in gone for line in _lines_of(message)]
    for line in reversed(every):
        size += len(line.encode("utf-8", "replace")) + 2
        if size > room:
            break
        lines.append(line)
    missing = len(every) - len(lines)
    parts = [
        f"[Earlier turns are left out. {READ} finds them: by the id of a call, or by words to search for.]"
    ]
    if summary:
        parts.append(f"[What they were about: {summary}]")
    if missing:
        parts.append(f"[{missing} entries are not even listed: search for words.]")
    return "\n".join([*parts, *reversed(lines)])


def _lines_of(message: AnyMessage) -> Iterable[str]:
    if isinstance(message, AIMessage) and message.tool_calls:
        for call in message.tool_calls:
            yield f"{call['id']}: {call['name']}({json_text(call['args'])[:BEGIN_CHARS]})"
    elif isinstance(message, HumanMessage):
        yield f"said: {' '.join(text_of(message)[:BEGIN_CHARS].split())}"


def _add_note(view: list[AnyMessage], note: str) -> None:
    """Put a note to the first words of the user: some models take no two messages of the user in a row."""
    for place, message in enumerate(view):
        if isinstance(message, HumanMessage):
            if isinstance(message.content, str):
                content: Any = f"{message.content}\n\n{note}"
            else:
                content = [*message.content, {"type": "text", "text": note}]
            view[place] = message.model_copy(update={"content": content})
            return
    view.append(HumanMessage(content=note))


def less(
    messages: Sequence[AnyMessage], out: LeftOut, fits: Callable[[LeftOut], bool], chars: int
) -> LeftOut:
    """Return what to leave out, as little as possible, so that the rest fits; all that can be if it does not.

    What the model has not read yet, the newest results, always stays.
    """
    turns = boundaries(messages)
    last = turns[-1] if turns else 0
    results = [
        n + 1 for n, m in enumerate(messages) if isinstance(m, ToolMessage) and out.results <= n < last
    ]

    def without_results(end: int) -> LeftOut:
        return LeftOut(end, out.turns, out.chars or chars, out.summary)

    out = _first(results, without_results, fits) or without_results(max([out.results, *results[-1:]]))
    if fits(out):
        return out

    def without_turns(end: int) -> LeftOut:
        return LeftOut(out.results, end, out.chars, out.summary)

    places = [place for place in turns if out.turns < place <= last]
    return _first(places, without_turns, fits) or without_turns(max([out.turns, *places[-1:]]))


def _first(
    places: Sequence[int], of: Callable[[int], LeftOut], fits: Callable[[LeftOut], bool]
) -> LeftOut | None:
    index = bisect_left(places, True, key=lambda place: fits(of(place)))
    return of(places[index]) if index < len(places) else None


def read_again(messages: Sequence[AnyMessage], arguments: Mapping[str, Any]) -> str:
    """Return what the tool `read_earlier` answers."""
    name, words, page = arguments.get("id"), arguments.get("search"), arguments.get("page") or 1
    if name and arguments.get("lines"):
        return _lines_again(messages, str(name), str(arguments["lines"]))
    if name:
        return _page(messages, str(name), page if isinstance(page, int) else 1)
    if words:
        return _search_text(messages, str(words))
    return "Give the id of a call, or words to search for."


def _page(messages: Sequence[AnyMessage], name: str, page: int) -> str:
    for message in messages:
        if isinstance(message, ToolMessage) and message.tool_call_id == name:
            text = text_of(message)
            pages = max(1, -(-len(text) // PAGE_CHARS))
            if not 1 <= page <= pages:
                return f"There is no page {page}: the result of {name} has {pages}."
            part = text[(page - 1) * PAGE_CHARS : page * PAGE_CHARS]
            return part if pages == 1 else f"{part}\n[page {page} of {pages}]"
    return f"There is no call with the id {name!r:.100}. Search for words instead."


def _lines_again(messages: Sequence[AnyMessage], name: str, lines: str) -> str:
    numbers = re.fullmatch(r"\s*(\d{1,9})(?:\s*-\s*(\d{1,9}))?\s*", lines)
    if numbers is None:
        return f"There are no lines {lines!r:.100}: give the first and the last, as 40-180."
    start, end = int(numbers[1]), int(numbers[2] or numbers[1])
    for message in messages:
        if isinstance(message, ToolMessage) and message.tool_call_id == name:
            every = text_of(message).split("\n")
            if not 1 <= start <= min(end, len(every)):
                return f"There are no lines {start}-{end}: the result of {name} has {len(every)}."
            part = "\n".join(every[start - 1 : end])
            if len(part) <= 2 * PAGE_CHARS:
                return part
            return f"{part[: 2 * PAGE_CHARS]}\n[cut: ask for fewer lines, or by page]"
    return f"There is no call with the id {name!r:.100}. Search for words instead."


def _search_text(messages: Sequence[AnyMessage], words: str) -> str:
    wanted = list(dict.fromkeys(re.findall(r"\w+", words.casefold())))
    ranked: list[tuple[int, int, str]] = []
    for place, message in enumerate(messages):
        if isinstance(message, ToolMessage) and message.name == READ:
            continue
        best = _excerpt(text_of(message), wanted)
        if best is not None:
            who = message.tool_call_id if isinstance(message, ToolMessage) else message.type
            ranked.append((best[0], place, f"{who}: {best[1]}"))
    if not ranked:
        return f"Nothing before has any of the words {words!r:.100}."
    ranked.sort(key=lambda item: (-item[0], -item[1]))
    return "\n".join(excerpt for _, _, excerpt in ranked[:FOUND])


def _excerpt(text: str, wanted: Sequence[str]) -> tuple[int, str] | None:
    """Return how many of the words stand close together in a text, and the best place."""
    folded = text.casefold()
    best: tuple[int, int] | None = None
    for word in wanted:
        for match in re.finditer(rf"\b{re.escape(word)}\b", folded):
            begin = max(0, match.start() - EXCERPT_CHARS // 3)
            near = folded[begin : begin + EXCERPT_CHARS]
            count = sum(re.search(rf"\b{re.escape(other)}\b", near) is not None for other in wanted)
            if best is None or count > best[0]:
                best = (count, begin)
    if best is None:
        return None
    count, begin = best
    return count, " ".join(text[begin : begin + EXCERPT_CHARS].split())
