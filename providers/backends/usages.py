"""Token counts and costs as the providers spell them, read into one form.

What a server does not say is unknown, never zero. Where each spelling comes from:

- `prompt_tokens_details.cached_tokens`, `completion_tokens_details.reasoning_tokens`: OpenAI, vLLM
- `prompt_tokens_details.cache_write_tokens`, `cost`, `cost_details`:
  https://openrouter.ai/docs/use-cases/usage-accounting
- `prompt_cache_hit_tokens`: https://api-docs.deepseek.com/guides/kv_cache
- `cached_tokens` beside the other counts: Together AI
- `cache_read_input_tokens`, `cache_creation_input_tokens`: Anthropic's names, which gateways pass on
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from ...state.money import rounded
from ..model import Usage

MOST = 2**53  # what every reader of JSON takes, and every record
OPENAI_NAMES = {"prompt_tokens", "completion_tokens", "total_tokens"}


def read_usage(raw: Mapping[str, Any]) -> Usage:
    """Return the counts of a `usage` object; a part is never larger than its whole.

    Most providers count reasoning as part of the answer. Where the total shows that this one does not
    (prompt + answer + reasoning = total), it is added to the answer, because it is billed as output.
    """
    prompt, answered = count_in(raw, "prompt_tokens"), count_in(raw, "completion_tokens")
    total = count_in(raw, "total_tokens")
    reasoning = count_in(raw, "completion_tokens_details.reasoning_tokens", "reasoning_tokens")
    if prompt is not None and answered is not None and reasoning and total == prompt + answered + reasoning:
        answered += reasoning
    cached = count_in(
        raw,
        "prompt_tokens_details.cached_tokens",
        "prompt_cache_hit_tokens",
        "cached_tokens",
        "cache_read_input_tokens",
    )
    written = count_in(
        raw,
        "prompt_tokens_details.cache_write_tokens",
        "prompt_tokens_details.cache_creation_tokens",
        "cache_creation_input_tokens",
    )
    cached = _part(cached, prompt)
    return Usage(
        input=prompt,
        output=answered,
        cached=cached,
        reasoning=_part(reasoning, answered),
        cache_write=_part(written, None if prompt is None else prompt - (cached or 0)),
    )


def believable(usage: Usage, *, answered: bool) -> Usage:
    """Return the counts without those that cannot be: a count of none for what is there is unknown."""
    prompt = usage.input or None
    output = None if not usage.output and (answered or prompt is None) else usage.output
    if (prompt, output) == (usage.input, usage.output):
        return usage
    return replace(usage, input=prompt, output=output)


def read_cost(raw: Mapping[str, Any]) -> float | None:
    """Return what the provider says that the call cost, in US dollars.

    With a key of one's own at the provider behind it (`is_byok`), OpenRouter's `cost` is its fee alone;
    what the provider charges is added.
    """
    cost = _money(raw.get("cost"))
    if cost is not None and raw.get("is_byok"):
        details = raw.get("cost_details")
        upstream = _money(details.get("upstream_inference_cost")) if isinstance(details, Mapping) else None
        return None if upstream is None else rounded(Decimal(str(cost)) + Decimal(str(upstream)))
    return cost


def _money(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


def count_in(raw: Mapping[str, Any], *paths: str) -> int | None:
    """Return the first of the values that is a count."""
    for path in paths:
        value = value_at(raw, path) if "." in path else raw.get(path)
        if value is not None and (count := as_count(value)) is not None:
            return count
    return None


def as_count(value: Any) -> int | None:
    """Return a count, also of a whole number as text or with a point, as OpenAI's package does."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 17 else None
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None
    return int(value) if isinstance(value, int) and 0 <= value <= MOST else None


def value_at(values: Any, path: str) -> Any:
    """Return the value at a path of names with dots between them, None if there is none."""
    for name in path.split("."):
        if not isinstance(values, Mapping):
            return None
        values = values.get(name)
    return values


def _part(part: int | None, whole: int | None) -> int | None:
    return part if part is None else min(part, whole or 0)
