"""The fence around a thread: what may be written to it, and what becomes of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from ..errors import ThreadBusy
from .dialect import Rows, Transaction
from .records import CallStatement, Statement, ThreadStatement

# Why statements may not be written: those of a thread's run (True), or those of others to it (False).
Problems = Mapping[tuple[str, bool], ThreadBusy]


class Guard(Protocol):
    """Says of a transaction which threads it may not write to.

    What `question` selects is read in the transaction, and so stays true until it is committed.
    """

    def question(self, statements: Sequence[Statement]) -> Statement | None:
        """Return what to select, None where all is known."""
        ...

    def fence(self, statements: Sequence[Statement]) -> Statement | None:
        """Return a statement that divides by zero where `refused` could refuse something.

        So statements can be sent behind it without waiting for its rows. None where there is no such one.
        """
        ...

    def refused(self, statements: Sequence[Statement], rows: Rows) -> Problems:
        """Return why threads may not be written to, given the rows that were selected."""
        ...


class Open:
    """A guard that lets everybody write."""

    def question(self, statements: Sequence[Statement]) -> Statement | None:
        return None

    def fence(self, statements: Sequence[Statement]) -> Statement | None:
        return None

    def refused(self, statements: Sequence[Statement], rows: Rows) -> Problems:
        return {}


class Refused(Exception):
    """A transaction would write to threads that it may not write to."""

    def __init__(self, problems: Problems) -> None:
        super().__init__(*problems.values())
        self._problems = problems

    def check(self, statements: Iterable[Statement]) -> None:
        """Raise why one of these statements is refused, unless it is an answer, which is kept."""
        for statement in statements:
            problem = self._of(statement)
            if problem is not None and not isinstance(statement, CallStatement):
                raise problem from None

    def allowed(self, statements: Iterable[Statement]) -> list[Statement]:
        """Return what may be written; of the rest only answers that are paid for, as superseded."""
        allowed: list[Statement] = []
        for statement in statements:
            problem = self._of(statement)
            if problem is None:
                allowed.append(statement)
            elif isinstance(statement, CallStatement):
                allowed.append(statement.superseded(problem))
        return allowed

    def _of(self, statement: Statement) -> ThreadBusy | None:
        if not isinstance(statement, ThreadStatement):
            return None
        return self._problems.get((statement.thread_id, statement.of_run))


def check(guard: Guard, transaction: Transaction, statements: Sequence[Statement]) -> None:
    """Ask the guard about the statements of an open transaction. Raises Refused."""
    question = guard.question(statements)
    rows = [] if question is None else transaction.execute(*question)
    if refused := guard.refused(statements, rows):
        raise Refused(refused)


def threads_of(statements: Iterable[Statement]) -> tuple[set[str], set[str]]:
    """Return the threads to which statements write for their runs, and those to which others do."""
    of_run: set[str] = set()
    of_others: set[str] = set()
    for statement in statements:
        if isinstance(statement, ThreadStatement):
            (of_run if statement.of_run else of_others).add(statement.thread_id)
    return of_run, of_others
