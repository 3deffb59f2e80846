"""A replay of each pattern with an unchanged graph asks nothing, and differs in nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepgraph import Session

from .cases import CASES
from .replays import problem_of, replayed


@pytest.mark.parametrize("name", CASES)
def test_an_unchanged_pattern_is_answered_from_the_record(
    name: str, session: Session, tmp_path: Path
) -> None:
    assert problem_of(*replayed(session, "t", name)) is None
