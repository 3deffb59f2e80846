"""What model calls cost: one type for every sum of calls, tokens and US dollars."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import astuple, dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Cost:
    """Calls, their tokens and their US dollars; costs add up with +.

    `known_usd` sums the costs that are known, `unknown` counts the answered calls whose cost is not known.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    known_usd: float = 0.0
    unknown: int = 0

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def usd(self) -> float | None:
        """The whole cost; None where a part of it is unknown, so it was at least `known_usd`."""
        return None if self.unknown else self.known_usd

    def __add__(self, other: Cost) -> Cost:
        return self._combined(other, _exactly(operator.add))

    def __sub__(self, other: Cost) -> Cost:
        return self._combined(other, _exactly(operator.sub))

    def at_least(self, other: Cost) -> Cost:
        """Return the larger one of each number."""
        return self._combined(other, max)

    def _combined(self, other: Cost, combine: Callable[[Any, Any], Any]) -> Cost:
        return Cost(*map(combine, astuple(self), astuple(other)))


def _exactly(combine: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return the operator that takes dollars as the decimals that they are written as: 0.1 + 0.2 is 0.3."""

    def combined(one: Any, other: Any) -> Any:
        if not isinstance(one, float) or not math.isfinite(one) or not math.isfinite(other):
            return combine(one, other)
        return float(combine(Decimal(repr(float(one))), Decimal(repr(float(other)))))

    return combined


NOTHING = Cost()
