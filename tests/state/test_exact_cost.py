"""Sums of money are the decimals that they are written as."""

from __future__ import annotations

from decimal import Decimal
from math import inf, nan
from pathlib import Path

from hypothesis import given, settings, strategies as st

from stepgraph import Session
from stepgraph.state.cost import NOTHING, Cost
from stepgraph.state.money import is_believable
from stepgraph.tracing.record.threads import list_threads

picos = st.integers(0, 10**13)  # up to ten dollars, in trillionths


@settings(deadline=None)
@given(st.lists(picos, max_size=30))
def test_costs_add_up_exactly(parts: list[int]) -> None:
    total = NOTHING
    for part in parts:
        total += Cost(1, known_usd=part / 10**12)
    assert Decimal(repr(total.known_usd)) == Decimal(sum(parts)) / 10**12
    for part in parts:
        total -= Cost(1, known_usd=part / 10**12)
    assert total == NOTHING


def test_a_cost_without_bound_stays_so() -> None:
    assert (Cost(known_usd=0.1) + Cost(known_usd=inf)).known_usd == inf
    assert (Cost(known_usd=inf) + Cost(known_usd=0.1)).known_usd == inf


def test_the_file_adds_up_exactly(tmp_path: Path) -> None:
    with Session(tmp_path / "r.sqlite") as session:
        session.journal.start_run("t")
        sql = (
            "INSERT INTO calls (id, thread_id, task, path, step, request_hash, occurrence, attempt, status, "
            "model_asked, messages, params, latency_s, started_at, cost_picos) "
            "VALUES (?, 't', '', '', 's', ?, 0, 1, 'answered', 'm', '[]', '{}', 0, 0, ?)"
        )
        session.journal.write(
            [(sql, (str(n), str(n), usd)) for n, usd in enumerate([10**11, 2 * 10**11, 4 * 10**11])]
        )
        assert session.journal.spent("t").known_usd == 0.7
        assert list_threads(session.journal)[0].cost.known_usd == 0.7


def test_what_no_call_can_cost_is_not_believed() -> None:
    told = (0, 0.0, Decimal("0.1"), 1_000_000, 1_000_000.01, 2e6, -0.01, inf, nan)
    assert [is_believable(usd) for usd in told] == [True] * 4 + [False] * 5
