"""US dollars as exact decimals: whole trillionths of a dollar, whose sums are exact in Python and in SQL.

A call's cost is rounded to them once, when it is charged. Readers get the number nearest to the decimal; up
to 8,000 dollars no other decimal of twelve places has that number, so it prints as the exact sum.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal

PLACES = 12
PICOS = 1_000_000_000_000
Dollars = float | Decimal
MOST_USD = 1_000_000


def is_believable(usd: Dollars) -> bool:
    """Tell whether a call can cost so much: what a server says beyond that is an error of its own."""
    return 0 <= usd <= MOST_USD


def picos(usd: Dollars, *, up: bool = False) -> int:
    """Return dollars, as the decimal that they are written as, in trillionths; `up` for a bound."""
    if not usd:
        return 0
    rounding = ROUND_CEILING if up else ROUND_HALF_EVEN
    return int(Decimal(str(usd)).scaleb(PLACES).to_integral_value(rounding))


def dollars(amount: int) -> float:
    """Return the number of dollars nearest to so many trillionths."""
    return float(amount / PICOS)


def rounded(usd: Dollars, *, up: bool = False) -> float:
    """Return dollars as a decimal of twelve places at most."""
    return dollars(picos(usd, up=up)) if math.isfinite(usd) else float(usd)


def shown(usd: Dollars, least: int = 0) -> str:
    """Return dollars with all the decimal places that they have, and with `least` of them at least."""
    if not math.isfinite(usd):
        return str(usd)
    amount = picos(usd)
    whole, part = divmod(abs(amount), PICOS)
    places = f"{part:0{PLACES}d}"
    places = places[:least] + places[least:].rstrip("0")
    return f"{'-' * (amount < 0)}{whole}{'.' * bool(places)}{places}"
