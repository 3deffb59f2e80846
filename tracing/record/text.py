"""How a record's values and figures look to a reader. No control characters, whatever a model wrote."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from pydantic_core import to_jsonable_python

from ...state.blobs import described
from ...state.cost import Cost
from ...state.journal.batches import Batch
from ...state.masking import without_userinfo
from ...state.money import shown
from ...state.statuses import RunState

SHORT = 300
MARKS: dict[RunState, str] = {
    "done": "●",
    "failed": "✗",
    "interrupted": "‖",
    "partial": "‖",
    "running": "○",
    "queued": "○",
    "unfinished": "†",
}

# Printable in Unicode's sense, but nobody sees them: fillers, and joiners and selectors of a character's form
# where no character has them. One or two after a character that is not ASCII belong to emoji and to scripts.
UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\U000e0100-\U000e01ef]"
    "|(?<![^\\x00-\\x7f])[\u200c\u200d\ufe00-\ufe0f]+(?!\u20e3)|[\u200c\u200d\ufe00-\ufe0f]{3,}"
)


def clean(text: str) -> str:
    """Return the text for a reader: no control characters, no marks that change the direction of writing,
    nothing that cannot be seen, no users and passwords in addresses.
    """
    text = without_userinfo(text)
    if not text.isascii():
        text = UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)
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
    """Return a state value for a reader: text as it is, anything else as JSON; of images, what they are."""
    text = value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)
    text = clean(described(text))
    return text if limit is None else shorten(text, limit)


def shorten(text: str, limit: int) -> str:
    """Return the text cut to a length; a long one loses its middle, since a prompt's question stands last."""
    if len(text) <= limit:
        return text
    end = limit // 3 if limit >= 120 else 0
    return text[: limit - end] + "…" + (text[-end:] if end else "")


def money(cost: float | Cost | None) -> str:
    """Return US dollars, with all their decimal places.

    With calls of unknown cost among them they are at least so many, never just that; what budgets were
    charged for those calls is said to be an estimate.
    """
    if not isinstance(cost, Cost):
        return "cost unknown" if cost is None else _dollars(cost)
    charged = f"estimated at most {_dollars(cost.estimated_usd)}" if cost.estimated_usd else ""
    if not cost.unknown:
        return _dollars(cost.known_usd)
    if not cost.known_usd:
        return f"cost unknown, {charged}" if charged else "cost unknown"
    why = f"{cost.unknown} of unknown cost"
    return (
        f">= {_dollars(cost.known_usd)} ({why}, {charged})"
        if charged
        else f">= {_dollars(cost.known_usd)} ({why})"
    )


def _dollars(usd: float) -> str:
    return "$0" if usd == 0 else f"${shown(usd, 6 if usd < 0.01 else 4)}"


def cost_line(cost: Cost) -> str:
    """Return tokens and dollars."""
    return f"{tokens(cost.input_tokens, cost.output_tokens, cost.estimated_tokens)}, {money(cost)}"


def cost_json(cost: Cost) -> dict[str, Any]:
    """Return a cost for programs, in the words of the record's views; cost_usd is None if unknown."""
    return {
        "calls": cost.calls,
        "input_tokens": cost.input_tokens,
        "output_tokens": cost.output_tokens,
        "cost_usd": cost.usd,
        "known_cost_usd": cost.known_usd,
        "unknown_costs": cost.unknown,
        **estimates_json(cost),
    }


def estimates_json(cost: Cost) -> dict[str, Any]:
    """Return what budgets were charged where a server did not count."""
    return {"estimated_tokens": cost.estimated_tokens, "estimated_usd": cost.estimated_usd}


def tokens(input_tokens: int | None, answered: int | None, estimated: int | None = None) -> str:
    """Return "in+out tokens", and apart from them what is estimated because a server did not count."""
    known = (
        "tokens unknown"
        if input_tokens is None and answered is None
        else f"{input_tokens or 0}+{answered or 0} tokens"
    )
    return f"{known}, estimated {estimated} more at most" if estimated else known


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


def batch_line(batch: Batch) -> str:
    """Say what a call waits for that was handed in with others."""
    if batch.status == "ended":
        return f"the results of batch {batch.provider_id} are here"
    name = batch.provider_id or f"{batch.id}, which is looked for at the provider"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(batch.submitted_at or batch.started_at))
    calls = f"{batch.requests} call{'s' if batch.requests != 1 else ''}"
    return f"waits for batch {name} ({batch.api}, {batch.model}, {calls}), submitted at {when}"


def passages_line(kept: int, left_out: str | None) -> str:
    """Return how many passages were found, and why others are left out."""
    count = "1 passage" if kept == 1 else f"{kept} passages" if kept else "no passages"
    return f"{count} (left out: {left_out})" if left_out else count
