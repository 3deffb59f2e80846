"""How a record's values and figures look to a reader. No control characters, whatever a model wrote."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import to_jsonable_python

from ...state.cost import Cost
from .spans import SpanStatus

SHORT = 300
MARKS: dict[SpanStatus, str] = {
    "done": "●",
    "failed": "✗",
    "interrupted": "‖",
    "partial": "‖",
    "running": "○",
    "queued": "○",
    "unfinished": "†",
}


def clean(text: str) -> str:
    """Return the text without control characters and marks that change the direction of writing."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def one_line(text: str, limit: int = 100) -> str:
    """Return the text on one line, cut to a length."""
    text = clean(" ".join(text.split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def plain(value: Any) -> Any:
    """Return any state value as what JSON can say."""
    return to_jsonable_python(value, fallback=repr, serialize_unknown=True, inf_nan_mode="strings")


def show_value(value: Any, limit: int | None = SHORT) -> str:
    """Return a state value for a reader: text as it is, anything else as JSON."""
    text = value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)
    return clean(text) if limit is None else shorten(clean(text), limit)


def shorten(text: str, limit: int) -> str:
    """Return the text cut to a length; a long one loses its middle, since a prompt's question stands last."""
    if len(text) <= limit:
        return text
    end = limit // 3 if limit >= 120 else 0
    return text[: limit - end] + "…" + (text[-end:] if end else "")


def money(cost: float | Cost | None) -> str:
    """Return US dollars; with calls of unknown cost among them, at least so many, never just that."""
    usd, unknown = (cost.known_usd, cost.unknown) if isinstance(cost, Cost) else (cost, 0)
    if usd is None or (unknown and not usd):
        return "cost unknown"
    shown = "$0" if usd == 0 else f"${usd:.6f}" if usd < 0.01 else f"${usd:.4f}"
    return f">= {shown} ({unknown} of unknown cost)" if unknown else shown


def cost_line(cost: Cost) -> str:
    """Return tokens and dollars."""
    return f"{tokens(cost.input_tokens, cost.output_tokens)}, {money(cost)}"


def cost_json(cost: Cost) -> dict[str, Any]:
    """Return a cost for programs, in the words of the record's views; cost_usd is None if unknown."""
    return {
        "calls": cost.calls,
        "input_tokens": cost.input_tokens,
        "output_tokens": cost.output_tokens,
        "cost_usd": cost.usd,
        "known_cost_usd": cost.known_usd,
        "unknown_costs": cost.unknown,
    }


def tokens(given: int | None, answered: int | None) -> str:
    """Return "in+out tokens"."""
    if given is None and answered is None:
        return "tokens unknown"
    return f"{given or 0}+{answered or 0} tokens"


def duration(seconds: float) -> str:
    """Return a duration in the unit that fits."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    for limit, unit, size in ((100, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:.1f} days"


def sureness(confidence: float | None) -> str:
    return "" if confidence is None else f", {confidence:.2f} sure"


def passages_line(kept: int, left_out: str | None) -> str:
    """Return how many passages were found, and why others are left out."""
    count = "1 passage" if kept == 1 else f"{kept} passages" if kept else "no passages"
    return f"{count} (left out: {left_out})" if left_out else count
