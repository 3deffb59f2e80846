from __future__ import annotations

import pytest

from stepgraph.evals.scoring.trial_record import Loop
from stepgraph.evals.statistics.survival import rounds_of


def loops(*ends: tuple[int, str]) -> list[Loop]:
    return [Loop("mend", rounds, ended) for rounds, ended in ends]


def test_the_share_approved_by_each_round() -> None:
    found = rounds_of("mend", loops((1, "approved"), (1, "approved"), (2, "approved"), (3, "approved")))
    assert found.share == {1: 0.5, 2: 0.75, 3: 1.0}
    assert (found.suggested, found.runs) == (3, 4)


def test_a_loop_that_was_stopped_is_censored_and_not_a_failure() -> None:
    """By hand: 4 at risk in round 1, one approved; one stopped there; 2 at risk in round 2, one approved."""
    found = rounds_of("mend", loops((1, "approved"), (1, "again"), (2, "approved"), (2, "rounds used up")))
    assert found.share[1] == pytest.approx(1 / 4)
    assert found.share[2] == pytest.approx(1 - 3 / 4 * 1 / 2)
    assert found.stopped == {1: 1, 2: 1}


def test_a_loop_that_repeats_itself_would_never_be_approved() -> None:
    found = rounds_of("mend", loops((1, "approved"), (1, "unchanged"), (2, "approved"), (1, "unchanged")))
    assert found.share == {1: 0.25, 2: 0.5}
    assert found.hopeless == 2


def test_rounds_that_bring_nothing_are_not_suggested() -> None:
    ends = [(1, "approved")] * 97 + [(2, "approved")] * 2 + [(5, "rounds used up")]
    assert rounds_of("mend", loops(*ends)).suggested == 1
    assert rounds_of("mend", loops((3, "rounds used up"))).suggested is None
    assert rounds_of("mend", []).runs == 0
