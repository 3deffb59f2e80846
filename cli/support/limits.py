"""What `--budget` and `--cache` say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from ...state.budget import Budget, Budgets
from ...state.errors import InputError, did_you_mean

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
FRACTIONS = ("usd", "seconds")
TEXTS = ("scope", "per")


def parse_budget(limits: Sequence[str]) -> Budgets | None:
    """Return the budgets that the LIMIT=N texts describe, None without any; "none" lifts the run's limits.

    Commas part limits as well. A text with scope=… among its parts is a budget that threads share; the
    others make one.
    """
    if not limits:
        return None
    if list(limits) == ["none"]:
        return Budget()
    own = [part for text in limits if not _is_shared(text) for part in text.split(",")]
    budgets = [_budget(text.split(","), text) for text in limits if _is_shared(text)]
    if own:
        budgets.insert(0, _budget(own, " ".join(own)))
    return budgets[0] if len(budgets) == 1 else tuple(budgets)


def _is_shared(text: str) -> bool:
    return any(part.strip().startswith("scope=") for part in text.split(","))


def _budget(limits: Sequence[str], whole: str) -> Budget:
    try:
        return Budget(**parse_limits(limits, [field.name for field in fields(Budget)]))
    except ValueError as error:
        raise InputError(f"--budget {whole}: {error}") from None


def parse_limits(limits: Sequence[str], known: Sequence[str], option: str = "--budget") -> dict[str, Any]:
    """Return what NAME=VALUE texts say of a budget. Raises InputError that names the option."""
    values: dict[str, Any] = {}
    for text in map(str.strip, limits):
        name, sign, number = text.partition("=")
        if name not in known or not sign:
            raise InputError(f"{option} {text}: expected LIMIT=N. {did_you_mean(name, known)}")
        if name in TEXTS:
            values[name] = number
            continue
        try:
            values[name] = float(number) if name in FRACTIONS else int(number.replace("_", ""))
        except ValueError:
            raise InputError(f"{option} {text}: {number!r} is not a number.") from None
        if not values[name] >= 0:
            raise InputError(f"{option} {text}: expected 0 or more.")
    return values


def parse_age(text: str) -> float:
    """Return seconds from a text such as 90s, 12h or 7d."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS else (text, "s")
    try:
        seconds = float(number) * UNITS[unit]
    except ValueError:
        seconds = -1.0
    if seconds < 0:
        raise InputError(f"{text!r} is not an age. Expected a number with s, m, h, d or w, such as 12h.")
    return seconds
