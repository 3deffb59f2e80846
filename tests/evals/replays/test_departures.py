"""Where a replay left the record; how far a part of a race came before it was called off is chance."""

from __future__ import annotations

from typing import Any

import pytest

from stepgraph.evals.replays.cases import departure_of
from stepgraph.state.session.recorder import STOPPED
from stepgraph.tracing.record.spans import Span, Trace

TRACE = Trace("trace", "t", 1, "app")
HELD = '{"stepgraph_held":{"who":0}}'


def run_of(*nodes: tuple[str, str | None]) -> list[Span]:
    """Return a run's spans: paths in their order, each with its output, None for what was stopped."""
    spans = []
    for number, (path, output) in enumerate(nodes):
        parts = path.split("/")
        task = "|".join(f"{part}:{'/'.join(parts[: place + 1])}" for place, part in enumerate(parts))
        row: dict[str, Any] = {"input": "{}", "output": output}
        status, error = ("failed", STOPPED) if output is None else ("done", None)
        spans.append(
            Span(
                TRACE,
                "node",
                str(number),
                None,
                parts[-1],
                path,
                task,
                status,
                float(number),
                9.0,
                row,
                error,
            )  # type: ignore[arg-type]
        )
    return spans


RACE = [("guarded", "{}"), ("guarded/start", "{}"), ("guarded/screen", HELD)]
END = [("guarded/settle", "{}"), ("guarded/otherwise", '{"reply":"later"}')]
# A guard tripped, and the desk beside it was called off: before it began, in its first node, in a nested
# one, after some, or when all of it was done, but later than the guard.
CALLED_OFF = {
    "before it began": [("guarded/desk", "{}")],
    "in its first node": [("guarded/desk", "{}"), ("guarded/desk/triage", None)],
    "in a nested node": [
        ("guarded/desk", "{}"), ("guarded/desk/triage", "{}"), ("guarded/desk/billing", None),
        ("guarded/desk/billing/draft", None),
    ],
    "after some": [
        ("guarded/desk", "{}"), ("guarded/desk/triage", '{"topic":"x"}'), ("guarded/desk/draft", None),
    ],
    "too late": [("guarded/desk", HELD), ("guarded/desk/triage", "{}"), ("guarded/desk/draft", "{}")],
}  # fmt: skip


@pytest.mark.parametrize("before", [name for name in CALLED_OFF if name != "too late"])
@pytest.mark.parametrize("after", CALLED_OFF)
def test_how_far_a_part_came_that_was_called_off_is_no_departure(before: str, after: str) -> None:
    one, other = (run_of(*RACE, *CALLED_OFF[name], *END) for name in (before, after))
    assert departure_of(one, other, [], []) is None
    assert departure_of(other, one, [], []) is None


def test_what_comes_of_the_race_is_one() -> None:
    tripped = run_of(*RACE, *CALLED_OFF["in its first node"], *END)
    passed = run_of(*RACE, *CALLED_OFF["too late"], ("guarded/settle", '{"reply":"fine"}'))
    found = departure_of(tripped, passed, [], [])
    assert found is not None
    assert found.node == "guarded/settle"


def test_a_part_that_no_race_called_off_is_one() -> None:
    found = departure_of(run_of(("a", "{}"), ("a/b", "{}")), run_of(("a", "{}"), ("a/c", "{}")), [], [])
    assert found is not None
    assert found.why == "did not run" or found.node == "a/c"


def test_a_node_that_was_stopped_and_ran_again_is_compared() -> None:
    before = run_of(("a", "{}"), ("a/b", None), ("a/b", '{"reply":"x"}'))
    after = run_of(("a", "{}"), ("a/b", '{"reply":"y"}'))
    found = departure_of(before[:1] + before[2:], after, [], [])
    assert found is not None
    assert departure_of(before, after, [], []) == found
