"""`stepgraph budgets`: the budgets that threads share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ...state.budget import SHARED_LIMITS, Budget
from ...state.errors import InputError
from ...state.journal.budget_accounts import Limits
from ...state.journal.budget_reads import (
    NO_LIMIT,
    accounts,
    release,
    reset_limits,
    set_limits,
)
from ...state.journal.journal import Journal
from ...state.money import picos
from ...state.periods import Period
from ...tracing.record.text import one_line
from .budget_lines import account_lines
from .limits import parse_limits
from .show import open_session

EVER = "ever"


def show_budgets(
    scope: str | None,
    *,
    per: str | None,
    limits: Sequence[str],
    reset: bool,
    give_back: bool,
    past: bool,
    database: Path,
    as_json: bool,
) -> None:
    """Print how shared budgets stand, after what is to change has changed."""
    period: Any = None if per in (None, EVER) else per
    if (limits or reset or give_back) and (scope is None or per is None):
        raise InputError(
            "Name the budget that is to change by its scope and its period: stepgraph budgets user:ada "
            "--per day …; --per ever is one that never begins anew."
        )
    with open_session(database) as session:
        if scope is not None and (limits or reset or give_back):
            _change(session.journal, scope, period, limits, reset=reset, give_back=give_back)
        rows = accounts(session.journal, scope, "any" if per is None else period, past=past)
    if as_json:
        for account in rows:
            click.echo(json.dumps({**asdict(account), "left": account.left}, ensure_ascii=False))
        return
    if not rows:
        click.echo(
            f"No run has spent anything of {'a shared budget' if scope is None else scope} in {database}."
        )
    width = max((len(one_line(account.name)) for account in rows), default=0)
    for account in rows:
        for line in account_lines(account, width):
            click.echo(line)


def _change(
    journal: Journal, scope: str, per: Period | None, limits: Sequence[str], *, reset: bool, give_back: bool
) -> None:
    if reset:
        reset_limits(journal, scope, per)
    if limits:
        lifted = [text.removesuffix("=none") for text in limits if text.endswith("=none")]
        values = parse_limits([text for text in limits if not text.endswith("=none")], SHARED_LIMITS, "--set")
        parse_limits([f"{name}=0" for name in lifted], SHARED_LIMITS, "--set")
        try:
            Budget(**values, scope=scope, per=per)
        except ValueError as error:
            raise InputError(f"--set {' '.join(limits)}: {error}") from None
        if "usd" in values:
            values["usd"] = picos(values["usd"])
        values |= dict.fromkeys(lifted, NO_LIMIT)
        set_limits(journal, scope, per, Limits(*(values.get(name) for name in SHARED_LIMITS)))
    if give_back:
        release(journal, scope, per)
