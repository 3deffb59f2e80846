"""What model calls cost: one type for every sum of calls, tokens and US dollars."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any

from .money import dollars, picos


@dataclass(frozen=True, slots=True)
class Cost:
    """Calls, their tokens and their US dollars; costs add up with +, exactly to a trillionth of a dollar.

    `known_usd` sums the costs that are known, `unknown` counts the answered calls whose cost is not known.
    `estimated_tokens` and `estimated_usd` are what budgets are charged where a server did not count the
    tokens: the most that they can be. They are part of no other number. `cached_tokens` are the input tokens
    that the providers say they read from their caches; they are known once a run has ended.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    known_usd: float = 0.0
    unknown: int = 0
    estimated_tokens: int = 0
    estimated_usd: float = 0.0
    cached_tokens: int = 0

    @property
    def cached_share(self) -> float:
        """The part of the input that was read from the providers' caches, 0 to 1."""
        return self.cached_tokens / self.input_tokens if self.input_tokens else 0.0

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def usd(self) -> float | None:
        """The whole cost; None where a part of it is unknown, so it was at least `known_usd`."""
        return None if self.unknown else self.known_usd

    @property
    def charged_tokens(self) -> int:
        """The tokens that budgets count: those that servers counted, and the estimated ones."""
        return self.input_tokens + self.output_tokens + self.estimated_tokens

    @property
    def charged_usd(self) -> float:
        """The dollars that budgets count: the known ones, and the estimated ones."""
        return _exactly(operator.add)(self.known_usd, self.estimated_usd)

    def charged(self) -> dict[str, Any]:
        """Return what budgets count, by the names of their limits."""
        return {"calls": self.calls, "tokens": self.charged_tokens, "usd": self.charged_usd}

    def __add__(self, other: Cost) -> Cost:
        return self._combined(other, operator.add)

    def __sub__(self, other: Cost) -> Cost:
        return self._combined(other, operator.sub)

    def at_least(self, other: Cost) -> Cost:
        """Return the larger one of each number."""
        return Cost(*map(max, astuple(self), astuple(other)))

    def _combined(self, other: Cost, combine: Callable[[Any, Any], Any]) -> Cost:
        exactly = _exactly(combine)
        return Cost(
            combine(self.calls, other.calls),
            combine(self.input_tokens, other.input_tokens),
            combine(self.output_tokens, other.output_tokens),
            exactly(self.known_usd, other.known_usd),
            combine(self.unknown, other.unknown),
            combine(self.estimated_tokens, other.estimated_tokens),
            exactly(self.estimated_usd, other.estimated_usd),
            combine(self.cached_tokens, other.cached_tokens),
        )


def _exactly(combine: Callable[[Any, Any], Any]) -> Callable[[float, float], float]:
    """Return the operator on dollars that takes them as the decimals that they are written as."""

    def combined(one: float, other: float) -> float:
        if not math.isfinite(one) or not math.isfinite(other):
            return float(combine(one, other))
        return dollars(combine(picos(one), picos(other)))

    return combined


NOTHING = Cost()
