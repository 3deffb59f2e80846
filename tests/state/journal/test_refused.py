"""What becomes of a transaction that would write to a thread which another owner runs."""

from __future__ import annotations

from typing import Any

import pytest

from stepgraph.errors import ThreadBusy
from stepgraph.state.journal.fencing import Open, Problems, Refused, check
from stepgraph.state.journal.records import CallStatement, ThreadStatement, insert

from .test_journal import CALL

WHY = ThreadBusy("another runs it")
CHANGE = ("UPDATE x SET y = 1", ())
MINE, OTHER = ThreadStatement(CHANGE, "mine"), ThreadStatement(CHANGE, "t")


def test_what_is_refused_is_told_unless_it_is_an_answer() -> None:
    answer, refused = insert(CALL), Refused({("t", True): WHY})
    assert refused.args == (WHY,)
    refused.check([CHANGE, MINE, answer])
    with pytest.raises(ThreadBusy, match="another runs it") as told:
        refused.check([answer, OTHER])
    assert told.value is WHY
    assert told.value.__suppress_context__


def test_of_what_is_refused_only_answers_are_kept_as_superseded() -> None:
    answer = insert(CALL)
    allowed = Refused({("t", True): WHY}).allowed([CHANGE, OTHER, answer, MINE])
    assert [allowed[0], allowed[2]] == [CHANGE, MINE]
    assert len(allowed) == 3
    assert "superseded" in allowed[1][1]
    assert isinstance(answer, CallStatement)
    assert answer.refused is WHY


class Asking:
    """A transaction, and a guard that asks something of it."""

    def __init__(self, asked: Any, problems: Problems) -> None:
        self.asked, self.problems = asked, problems
        self.seen: list[Any] = []

    def question(self, statements: Any) -> Any:
        return self.asked

    def fence(self, statements: Any) -> Any:
        return None

    def refused(self, statements: Any, rows: Any) -> Problems:
        self.seen.append((statements, rows))
        return self.problems

    def execute(self, sql: str, values: Any = ()) -> Any:
        return [{"asked": sql, "with": values}]


@pytest.mark.parametrize(
    ("asked", "rows"),
    [(None, []), (("SELECT 1", ["a"]), [{"asked": "SELECT 1", "with": ["a"]}])],
    ids=["known", "asked"],
)
def test_a_guard_is_asked_once_what_it_wants_to_know_is_selected(asked: Any, rows: Any) -> None:
    guard = Asking(asked, {})
    check(guard, guard, [OTHER])
    assert guard.seen == [([OTHER], rows)]
    guard.problems = {("t", True): WHY}
    with pytest.raises(Refused):
        check(guard, guard, [OTHER])


def test_without_claims_everybody_may_write() -> None:
    guard = Open()
    assert guard.question([OTHER]) is guard.fence([OTHER]) is None
    check(guard, Asking(None, {}), [OTHER])
