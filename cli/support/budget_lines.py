"""How a budget stands that threads share, in lines of a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from ...state.journal.budget_reads import BudgetAccount
from ...state.money import shown
from ...state.periods import shown_time
from ...tracing.record.text import one_line


def account_lines(account: BudgetAccount, width: int = 0) -> Iterator[str]:
    """Yield a line for each limit."""
    name = one_line(account.name).ljust(width)
    until = f"  until {shown_time(account.ends_at)}" if account.ends_at is not None else ""
    for resource, limit in account.limits.items():
        parts = [f"{_text(resource, account.spent[resource])} of {_text(resource, limit)} {resource} spent"]
        if account.reserved[resource]:
            parts.append(f"{_text(resource, account.reserved[resource])} reserved")
        if account.unsettled[resource]:
            parts.append(f"{_text(resource, account.unsettled[resource])} set aside by processes that died")
        parts.append(f"{_text(resource, account.left[resource])} left")
        by_hand = "  (set by hand)" if resource in account.by_hand else ""
        yield f"{name}  {', '.join(parts)}{by_hand}{until}"
    if not account.limits:
        yield f"{name}  no limit{until}"


def _text(name: str, amount: float) -> str:
    return shown(amount, 2) if name == "usd" else f"{int(amount):,}"
