"""What a node returned, as the record shows it: the fields that it wrote, in plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langgraph.types import Command, Overwrite

from ..names import WRITTEN


def shown_output(output: Any) -> Any:
    """Return a node's output with one value for each field, however it wrote that."""
    if isinstance(output, dict) and not any(isinstance(value, Overwrite) for value in output.values()):
        return {name: value for name, value in output.items() if name != WRITTEN}
    several = isinstance(output, list) and any(isinstance(each, Command) for each in output)
    parts: list[Any] = output if several else [output]
    updates = [part.update if _only_updates(part) else part for part in parts]
    if not all(isinstance(update, Mapping) for update in updates):
        return output
    written: dict[str, list[Any]] = {}
    for name, value in _writes(updates):
        written.setdefault(name, []).append(value)
    return {name: _joined(values) for name, values in written.items()}


def _only_updates(part: Any) -> bool:
    return isinstance(part, Command) and not part.goto and part.graph is None and part.resume is None


def _writes(updates: list[Any]) -> Iterator[tuple[str, Any]]:
    for update in updates:
        for name, value in update.items():
            if name != WRITTEN:
                yield name, value.value if isinstance(value, Overwrite) else value


def _joined(values: list[Any]) -> Any:
    if len(values) == 1:
        return values[0]
    if all(isinstance(value, list) for value in values):
        return [item for value in values for item in value]
    return values
