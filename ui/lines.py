"""A run in a few words: what it was given, and what came of it, in a line each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..state.blobs import described
from ..state.names import PRIVATE
from ..tracing.record.listing import Summary
from ..tracing.record.text import one_line
from ..tracing.record.values import cut_text
from .texts import read_json

LONGEST = 220
_ONE = 90  # characters of one field, where there are several
_NOTHING: tuple[Any, ...] = (None, "", [], {})


def input_line(summary: Summary) -> str:
    """Return what a run was given, field by field."""
    return _line(part for part in _parts(read_json(summary.input)) if not part.endswith(": no"))


def result_line(summary: Summary) -> str:
    """Return what a run returned beyond what it was given: what a state declares last comes first."""
    run_input, output = read_json(summary.input), read_json(summary.output)
    before = run_input if isinstance(run_input, dict) and not cut_text(run_input) else {}
    if isinstance(output, dict) and not cut_text(output):
        new = {name: value for name, value in output.items() if name not in before or before[name] != value}
        output = dict(reversed((new or output).items()))
    return _line(_parts(output))


def question_line(summary: Summary) -> str:
    """Return what a run asks a person."""
    interrupts = read_json(summary.interrupts)
    first = interrupts[0] if isinstance(interrupts, list) and interrupts else interrupts
    if isinstance(first, dict):
        question = next((first[name] for name in ("question", "message", "prompt") if first.get(name)), None)
        first = question or {name: value for name, value in first.items() if name != "kind"}
    return _line(_parts(first))


def _parts(value: Any) -> Iterator[str]:
    if cut := cut_text(value):
        yield cut[0]
    elif isinstance(value, dict):
        fields = {n: v for n, v in value.items() if v not in _NOTHING and not n.startswith((PRIVATE, "__"))}
        for name, item in fields.items():
            yield f"{name}: {one_line(_plain(item), _ONE if len(fields) > 1 else LONGEST)}"
    elif value not in _NOTHING:
        yield _plain(value)


def _plain(value: Any) -> str:
    """Return a value as a reader would say it: of messages, the last one."""
    if cut := cut_text(value):
        return cut[0]
    if isinstance(value, list) and value and isinstance(value[-1], dict) and "content" in value[-1]:
        return _plain(value[-1]["content"])
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    return json.dumps(value, ensure_ascii=False)


def _line(parts: Iterator[str]) -> str:
    return one_line(described(" · ".join(parts)), LONGEST)
