"""From `--input` to states: field=value, JSON, JSON and JSONL files, standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from ...state.errors import InputError, StepgraphError
from ...state.schema import fields_of, parse_input


@dataclass(frozen=True)
class RunInput:
    """One input: where it came from, the data as given, and the state or what is wrong with it."""

    where: str
    data: Any
    state: Any = None
    error: StepgraphError | None = None


def read_inputs(inputs: Sequence[str], state: type[Any]) -> list[RunInput]:
    """Return the inputs of a run. Raises InputError where the text itself cannot be read."""
    pairs = [text for text in inputs if _is_pair(text)]
    if pairs and len(pairs) < len(inputs):
        raise InputError("Give either field=value inputs, or one JSON input or file, not both.")
    if pairs or not inputs:
        return [_checked("", from_pairs(pairs, state), state)]
    if len(inputs) > 1:
        raise InputError("Give one JSON input or file; several inputs go into a .jsonl file.")
    (text,) = inputs
    if text.lstrip().startswith("{"):
        return [_checked("", _json(text, "The input"), state)]
    return _from_file(text, state)


def _is_pair(text: str) -> bool:
    name, sign, _ = text.partition("=")
    return bool(sign) and name.isidentifier()


def from_pairs(pairs: Sequence[str], state: type[Any]) -> dict[str, Any]:
    """Return fields from field=value texts; values are JSON where they can be, text for a text field."""
    known = fields_of(state)
    data: dict[str, Any] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        data[name] = value if _is_text(known.get(name), value) else json_or_text(value)
    return data


def _is_text(kind: Any, value: str) -> bool:
    """Tell whether a field takes text alone, or text or nothing: then digits are text, too."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind is str or (set(get_args(kind)) == {str, type(None)} and value != "null")


def json_or_text(text: str) -> Any:
    """Return the JSON value that a text is, or else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _from_file(name: str, state: type[Any]) -> list[RunInput]:
    if name == "-":
        text, name = sys.stdin.read(), "standard input"
    else:
        try:
            text = Path(name).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"The input {name!r} is neither JSON, nor field=value, nor a readable file: {error}."
            ) from None
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise InputError(f"{name} is empty.")
    if name.endswith(".jsonl") or (len(lines) > 1 and _all_objects(lines)):
        return [_line(f"{name}, line {number}", line, state) for number, line in lines]
    return [_checked(name, _json(text, name), state)]


def _all_objects(lines: list[tuple[int, str]]) -> bool:
    return all(line.lstrip().startswith("{") and line.rstrip().endswith("}") for _, line in lines)


def _line(where: str, line: str, state: type[Any]) -> RunInput:
    try:
        return _checked(where, _json(line, where), state)
    except InputError as error:
        return RunInput(where, line, error=error)


def _json(text: str, where: str) -> Any:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON that can be read: {error}.") from None
    if not isinstance(data, dict):
        raise InputError(f"{where} must be a JSON object with the state's fields.")
    return data


def _checked(where: str, data: dict[str, Any], state: type[Any]) -> RunInput:
    try:
        return RunInput(where, data, parse_input(state, data))
    except InputError as error:
        return RunInput(where, data, error=InputError(f"{where}: {error}") if where else error)
