"""Tool calls that come in pieces, put together: by their ids and their numbers, whichever a server sends."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...state.json_text import MAX_NESTING, is_too_deep
from ..model import ToolCall
from .http import MalformedBody

MAX_CALLS = 1000
MAX_NAME = 1000
MAX_LOOKED_INTO = 8192  # characters
TOO_DEEP = f"nested more than {MAX_NESTING} deep"
_FENCED = re.compile(r"(```|~~~)(?:[ \t]*\w+)?(?=\s|[{\[\"`~])(.*)\1", re.DOTALL)
_OWN = {"id", "index", "type", "function"}


@dataclass
class _Draft:
    """One call so far; `extra` is what a provider wants back with it, such as a thought's signature."""

    index: int | None
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    length: int = 0
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether the arguments are whole, so that more of them would be another call's.

        Long ones are not looked into: a stream of many pieces would be read from its beginning at each.
        """
        if not self.pieces or not self.pieces[-1].endswith("}") or self.length > MAX_LOOKED_INTO:
            return False
        try:
            return isinstance(json.loads("".join(self.pieces)), dict)
        except (ValueError, RecursionError):
            return False


class ToolCallDrafts:
    """The calls of one message, in the order in which they began.

    OpenAI numbers the calls and sends each id once. Others number all of them 0 or none at all, send an id
    or a name with each piece, or a call at once without either.
    """

    def __init__(self) -> None:
        self._drafts: list[_Draft] = []
        self._by_id: dict[str, _Draft] = {}
        self._by_number: dict[int, _Draft] = {}  # the last of each

    def __bool__(self) -> bool:
        return bool(self._drafts)

    def add(self, piece: Mapping[str, Any], place: int = 0) -> None:
        """Add a piece of a call; `place` is where it stands among those that came with it."""
        function = piece.get("function")
        function = function if isinstance(function, Mapping) else {}
        number, name = piece.get("index"), str(function.get("name") or "")
        index = number if isinstance(number, int) and not isinstance(number, bool) else None
        own = str(piece.get("id") or "")
        more = bool(name and function.get("arguments"))
        draft = self._find(index, own, name, place, more=more)
        if draft is None:
            if len(self._drafts) == MAX_CALLS:
                raise MalformedBody(f"more than {MAX_CALLS} tool calls in one answer")
            draft = _Draft(index)
            self._drafts.append(draft)
            if index is not None:
                self._by_number[index] = draft
        if own and not draft.id:
            draft.id = own
            self._by_id.setdefault(own, draft)
        if name != draft.name:  # some send the whole name again with each piece
            draft.name += name
            if len(draft.name) > MAX_NAME:
                raise MalformedBody(f"a tool's name of more than {MAX_NAME} characters")
        arguments = function.get("arguments")
        if arguments is not None and not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        if arguments:
            if draft.pieces == ["{}"] and arguments.startswith("{"):
                draft.pieces.clear()  # it held the place of those that come now
                draft.length = 0
            draft.pieces.append(arguments)
            draft.length += len(arguments)
        for key, value in piece.items():
            if key not in _OWN and value is not None:
                draft.extra[key] = value

    def _find(self, index: int | None, own: str, name: str, place: int, *, more: bool) -> _Draft | None:
        """Return the call that a piece belongs to, None where it begins one.

        `more`: it has a name and arguments. Behind arguments that are whole, that is another call, even
        under the same id.
        """
        if own:
            known = self._by_id.get(own)
            if known is not None:
                return None if more and known.is_whole else known
        if index is None:
            draft = None if place else next(iter(self._drafts[-1:]), None)
        else:
            draft = self._by_number.get(index)
        begins = draft is not None and bool(name) and (_differ(own, draft.id) or draft.is_whole)
        return None if begins else draft

    def calls(self, echo: Collection[str] = ()) -> tuple[ToolCall, ...]:
        """Return the calls, by their numbers where they have some, with the fields that go back with them."""
        drafts: dict[Any, _Draft] = {}
        for draft in sorted(self._drafts, key=lambda draft: draft.index or 0):  # stable
            # Some send a whole call again at the end; one without an id of its own may be meant twice.
            again = (draft.id, draft.name, "".join(draft.pieces)) if draft.id else id(draft)
            drafts.setdefault(again, draft)
        return tuple(_call(draft, number, echo) for number, draft in enumerate(drafts.values()))


def without_cut(
    finish: str | None, calls: tuple[ToolCall, ...], *, parsed: bool = False
) -> tuple[ToolCall, ...]:
    """Return the calls of an answer; the last has a problem where the limit on tokens may have cut it.

    Arguments that are a whole JSON text were not cut. What a server or a class parsed itself (`parsed`) may
    have been.
    """
    if finish != "length" or not calls or calls[-1].problem or (calls[-1].arguments and not parsed):
        return calls
    return (*calls[:-1], replace(calls[-1], problem="the answer was cut at its limit of tokens"))


def _differ(one: str, other: str) -> bool:
    return bool(one and other and one != other)


def _call(draft: _Draft, number: int, echo: Collection[str]) -> ToolCall:
    arguments, problem = read_arguments("".join(draft.pieces))
    extra = {name: value for name, value in draft.extra.items() if name in echo}
    return ToolCall(draft.name, arguments, id=draft.id or f"call_{number}", problem=problem, extra=extra)


def read_arguments(text: str) -> tuple[dict[str, Any], str | None]:
    """Return the arguments of a call, and why they cannot be read if they cannot.

    No arguments are spelled "", "null" or "{}"; some models put theirs between code fences, or quote the
    object as a JSON string.
    """
    bare = _unfenced(text.removeprefix("\ufeff"))
    if bare in ("", "null", "None", "undefined"):
        return {}, None
    try:
        value = json.loads(bare, strict=False)  # a line's end within a text is one, escaped or not
        if isinstance(value, str):
            value = json.loads(value, strict=False) if value.strip() else {}
        if value == []:  # PHP's empty object
            value = {}
    except (ValueError, RecursionError) as error:
        return {}, f"no valid JSON: {error}"
    if is_too_deep(value):
        return {}, TOO_DEEP
    if not isinstance(value, dict):
        return {}, f"expected a JSON object, got {type(value).__name__}"
    return value, None


def _unfenced(text: str) -> str:
    text = text.strip()
    fenced = _FENCED.fullmatch(text)
    return fenced[2].strip() if fenced else text
