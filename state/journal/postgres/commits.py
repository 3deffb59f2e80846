"""Which of a process's transactions were committed, though the connection was lost before that was told.

Whatever commits writes its number into a row of its process in the same transaction. So once the database is
back, that row tells whether what was sent last is to be done once more, or has happened.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from ..records import CallStatement, Statement
from .connecting import Connection
from .flights import Flight, Read
from .sql import POSTGRES

KEPT_S = 86400.0
_MARK = (
    f"INSERT INTO last_commits (owner, number, committed_at) SELECT ?, ?, {POSTGRES.now} "
    "WHERE pg_current_xact_id_if_assigned() IS NOT NULL "  # else nothing was written
    "ON CONFLICT (owner) DO UPDATE SET number = excluded.number, committed_at = excluded.committed_at"
)
_FORGET = (
    "DELETE FROM last_commits WHERE owner IN (SELECT owner FROM last_commits "
    f"WHERE committed_at < {POSTGRES.now} - ? FOR UPDATE SKIP LOCKED)"
)


@dataclass(eq=False)
class Unsure:
    """A flight of which it is not known whether it was committed, and its number."""

    number: int
    flight: Flight
    has_happened: bool = False


class Commits:
    """Numbers what a process commits."""

    def __init__(self) -> None:
        self._owner = secrets.token_hex(8)
        self._number = 0
        self.unsure: Unsure | None = None

    def mark(self, flight: Flight) -> Statement:
        """Return the statement that tells later that a flight was committed; until then that is not sure."""
        self._number += 1
        self.unsure = Unsure(self._number, flight)
        return _MARK, (self._owner, self._number)

    def settle(self) -> None:
        """Note that it is known what came of the last flight."""
        self.unsure = None

    def done(self, connection: Connection, schema: str) -> list[Statement]:
        """Return which statements of the last flight have happened, as the database says.

        An answer is sent once more all the same: that changes nothing, and tells whether another one was
        there before. Raises psycopg.Error.
        """
        unsure = self.unsure
        if unsure is None:
            return []
        sql = f"SELECT number FROM {schema}.last_commits WHERE owner = $1"
        row = connection.execute(sql.encode(), [self._owner]).fetchone()
        unsure.has_happened = row == (unsure.number,)
        if not unsure.has_happened:
            return []
        return [each for each in unsure.flight.statements if not isinstance(each, CallStatement)]

    def forgetting(self) -> list[Read]:
        """Return what is sent along once: it deletes the rows of processes of days before."""
        return [Read(_FORGET, (KEPT_S,))] if self._number == 0 else []
