from __future__ import annotations

from typing import Any

import pytest

from stepgraph.errors import DefinitionError
from stepgraph.graphs.engine.options import check_counts, check_failed, check_timeout


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", None])
def test_a_count_is_a_whole_number_of_at_least_one(value: Any) -> None:
    with pytest.raises(DefinitionError, match=r"vote\(needed=.*\): expected a whole number, at least 1"):
        check_counts("vote", times=1, needed=value)
    check_counts("vote", times=1, needed=20)


@pytest.mark.parametrize("value", [0, -0.5, float("nan")])
def test_a_time_is_above_zero(value: float) -> None:
    with pytest.raises(DefinitionError, match="expected seconds above 0"):
        check_timeout("vote", value)
    check_timeout("vote", 0.001)
    check_timeout("vote", None)


def test_a_failure_is_taken_in_one_of_two_ways() -> None:
    check_failed("fan_out", "fail")
    check_failed("fan_out", "skip")
    with pytest.raises(DefinitionError, match="'fail' or 'skip'"):
        check_failed("fan_out", "ignore")
