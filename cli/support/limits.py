"""What `--budget` and `--cache` say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from ...state.budget import Budget
from ...state.errors import InputError, did_you_mean

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
FRACTIONS = ("usd", "seconds")


def parse_budget(limits: Sequence[str]) -> Budget | None:
    """Return the budget that the LIMIT=N texts describe, None without any; "none" lifts all limits."""
    if not limits:
        return None
    if list(limits) == ["none"]:
        return Budget()
    known = [field.name for field in fields(Budget)]
    values: dict[str, Any] = {}
    for text in limits:
        name, sign, number = text.partition("=")
        if name not in known or not sign:
            raise InputError(f"--budget {text}: expected LIMIT=N. {did_you_mean(name, known)}")
        try:
            values[name] = float(number) if name in FRACTIONS else int(number.replace("_", ""))
        except ValueError:
            raise InputError(f"--budget {text}: {number!r} is not a number.") from None
        if values[name] < 0:
            raise InputError(f"--budget {text}: expected 0 or more.")
    return Budget(**values)


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
