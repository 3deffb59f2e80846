"""What the choice of a model for each call saved, against one model for all, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...providers.model import Usage
from ...providers.prices import Price, cost_of
from ...providers.settings import DEFAULT_ROLE
from ...state.errors import InputError, did_you_mean
from ...state.journal.journal import Journal
from ...state.money import dollars, picos
from ...tracing.record.reads import paid_calls
from ..statistics.grouping import grouped


@dataclass(frozen=True)
class Used:
    """The tokens of one call; the calls for one `item` are tries at one answer, in their order."""

    item: str
    role: str
    input: int
    output: int


@dataclass(frozen=True)
class Savings:
    """Costs in US dollars, and the factors of what was saved: saving = moved x (1 - price_ratio - escalated).

    `moved` is the share of the baseline's spend that was tried on cheaper models; `price_ratio` is what
    these cost, `escalated` what the baseline's model cost behind them, both as shares of what the tried
    items would have cost on the baseline.
    """

    items: int
    calls: int
    cost_usd: float
    baseline_usd: float
    moved: float
    price_ratio: float
    escalated: float

    @property
    def saving(self) -> float:
        """The share of the baseline's cost that was saved; negative if it cost more."""
        return 1 - self.cost_usd / self.baseline_usd if self.baseline_usd else 0.0


def savings(used: Iterable[Used], prices: Mapping[str, Price], *, baseline: str) -> Savings:
    """Compare calls with what one role's model alone would have cost.

    What the baseline's model would have needed for an item is what it did need; where it was not asked,
    the tokens of the item's last call. Other models use other tokenizers and other numbers of words, so
    that part is an estimate. Raises InputError for a role without a price.
    """
    calls = list(used)
    for role in {baseline, *(call.role for call in calls)}:
        if role not in prices:
            raise InputError(f"savings: no price for the role {role!r}. {did_you_mean(role, prices)}")
    items = grouped((call.item, call) for call in calls)
    whole = tried = cheap = behind = 0
    for tries in items.values():
        strong = [call for call in tries if call.role == baseline]
        alone = sum(_cost(call, prices[baseline]) for call in strong or tries[-1:])
        whole += alone
        if len(strong) < len(tries):
            tried += alone
            behind += alone if strong else 0
            cheap += sum(_cost(call, prices[call.role]) for call in tries if call.role != baseline)
    return Savings(
        items=len(items),
        calls=len(calls),
        cost_usd=dollars(whole - tried + cheap + behind),
        baseline_usd=dollars(whole),
        moved=tried / whole if whole else 0.0,
        price_ratio=cheap / tried if tried else 0.0,
        escalated=behind / tried if tried else 0.0,
    )


def _cost(call: Used, price: Price) -> int:
    """Return what a call costs, in trillionths of a dollar."""
    return picos(cost_of(Usage(call.input, call.output), price) or 0.0)


def used_calls(journal: Journal, threads: Sequence[str] | None = None) -> list[Used]:
    """Return the paid calls of threads, or of all; a step's calls within one thread are one item."""
    return [
        Used(
            item=f"{row['thread_id']} {row['step']}",
            role=row["role"] or DEFAULT_ROLE,
            input=row["input_tokens"] or 0,
            output=row["output_tokens"] or 0,
        )
        for row in paid_calls(journal)
        if threads is None or row["thread_id"] in threads
    ]
