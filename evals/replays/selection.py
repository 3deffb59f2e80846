"""Which recorded runs a replay takes: "graph=support-desk since 7d limit 200"."""

from __future__ import annotations

import random
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ...state.errors import InputError, did_you_mean
from ...state.journal.journal import Journal
from ...state.statuses import RUN_STATES
from ...tracing.record.cohorts import RecordedThread, find_runs, known_words, runs_named

WORDS = ("graph", "status", "user", "tag", "thread", "since", "until", "limit", "forks")
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
EXAMPLE = "graph=support-desk since 7d limit 200"
NOT_ENDED = ("queued", "running", "unfinished")


@dataclass(frozen=True)
class Selection:
    """What was asked for. Times are Unix seconds; `forks` takes in threads that were forked from others."""

    text: str
    conditions: tuple[tuple[str, Any], ...]
    limit: int | None = None
    forks: bool = False


@dataclass(frozen=True)
class Cohort:
    """The runs that were drawn, of how many that fit; `left_out` says how many were not, and why."""

    threads: tuple[str, ...]
    total: int
    left_out: tuple[str, ...] = ()


def parse_selection(text: str, now: float | None = None) -> Selection:
    """Return what a text asks for. Raises InputError, which names the words that there are."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"--runs {text!r}: {error}. Write it as in {EXAMPLE!r}.") from None
    conditions: list[tuple[str, Any]] = []
    limit: int | None = None
    forks = False
    waiting = iter(words)
    for word in waiting:
        name, sign, value = word.partition("=")
        if name not in WORDS:
            raise InputError(
                f"--runs: {word!r} is no selection. The words are {', '.join(WORDS)}, as in {EXAMPLE!r}. "
                + did_you_mean(name, WORDS)
            )
        if name == "forks" and not sign:
            forks = True
            continue
        value = value if sign else next(waiting, "")
        if not value:
            raise InputError(f"--runs: {name} has no value. Write it as in {EXAMPLE!r}.")
        if name == "limit":
            limit = _number(value)
        elif name in ("since", "until"):
            conditions.append((name, _moment(name, value, time.time() if now is None else now)))
        elif name == "status":
            if value not in RUN_STATES:
                raise InputError(
                    f"--runs: there is no status {value!r}; expected one of {', '.join(RUN_STATES)}. "
                    + did_you_mean(value, RUN_STATES)
                )
            conditions.append((name, value))
        else:
            conditions.append((name, value))
    return Selection(text, tuple(conditions), limit, forks)


def draw(journal: Journal, selection: Selection, seed: int, threads: Sequence[str] | None = None) -> Cohort:
    """Draw the cohort: all runs that fit, or so many by chance. Raises InputError if there are none.

    With `threads`, it is drawn among these.
    """
    for name, value in selection.conditions:
        if name in ("graph", "user", "tag", "thread") and not find_runs(journal, [(name, value)]):
            known = known_words(journal, name)
            note = f"The record knows {', '.join(known[:20])}. " if known else ""
            raise InputError(
                f"--runs: no run in {journal.database} has {name}={value}. {note}{did_you_mean(value, known)}"
            )
    named = threads is not None or any(name == "thread" for name, _ in selection.conditions)
    if threads is None:
        matches = find_runs(journal, selection.conditions)
    else:
        fit = {run.thread_id for run in find_runs(journal, selection.conditions, everywhere=True)}
        matches = [
            run for run in runs_named(journal, threads) if not selection.conditions or run.thread_id in fit
        ]
    fitting: list[str] = []
    counts: Counter[str] = Counter()
    for run in matches:
        why = _why_not(run, with_forks=selection.forks or named)
        if why is None:
            fitting.append(run.thread_id)
        else:
            counts[why] += 1
    left_out = tuple(f"{number} {why}" for why, number in counts.items())
    if not fitting:
        note = "; ".join(left_out)
        raise InputError(
            f"--runs {selection.text!r}: no run fits{f': {note}' if note else ''}. `stepgraph threads` lists "
            "what is on record."
        )
    drawn = fitting
    if selection.limit is not None and selection.limit < len(fitting):
        drawn = sorted(random.Random(seed).sample(fitting, selection.limit))  # noqa: S311
    return Cohort(tuple(drawn), len(fitting), left_out)


def _why_not(run: RecordedThread, *, with_forks: bool) -> str | None:
    if run.status in NOT_ENDED:
        return "have not ended, or wait to begin"
    if run.parent is not None and not with_forks:
        return "are forks of other runs (the word forks takes them in)"
    return None


def _number(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise InputError(f"--runs: limit {text}: expected a whole number, 1 or more.")
    return number


def _moment(name: str, text: str, now: float) -> float:
    """Return the time that an age (7d) or a date (2026-11-20, or with its time) stands for.

    A date is one by this machine's clock; until one means up to its end, as on the local page.
    """
    if text[-1:] in UNITS:
        try:
            return now - float(text[:-1]) * UNITS[text[-1]]
        except ValueError:
            pass
    try:
        at = datetime.fromisoformat(text)
        is_day = len(text) <= len("2026-11-20")
        return (at + timedelta(days=is_day and name == "until")).timestamp()
    except (ValueError, OverflowError, OSError):
        raise InputError(
            f"--runs: {name} {text}: expected an age such as 12h or 7d (s, m, h, d, w), or a date such as "
            "2026-11-20."
        ) from None
