"""What SQL has in common on both databases is written once; what differs is asked of the dialect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Row = tuple[Any, ...]
Rows = list[dict[str, Any]]


class Transaction(Protocol):
    """An open transaction, for work that looks before it writes."""

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Run one statement of portable SQL, with `?` marks, and return its rows, if it has any."""
        ...


class Dialect:
    """SQLite's own words. A subclass has those of another database."""

    name = "sqlite"
    now = "((julianday('now') - 2440587.5) * 86400.0)"  # the database's clock, as Unix seconds
    for_share = ""  # ends a SELECT whose rows nobody may change before the transaction ends
    for_update = ""  # ends a SELECT whose rows nobody may lock before the transaction ends

    def json_text(self, column: str, path: str) -> str:
        """Return the expression of a part of a JSON column, as text; `path` is like `user.name`."""
        return f"json_extract({column}, '$.{path}')"

    def json_each(self, column: str) -> str:
        """Return the FROM item with a row, `key` and `value`, for each member of a JSON object."""
        return f"json_each({column})"

    def contains(self, column: str) -> str:
        """Return the condition that a column fits a pattern of LIKE, which is its value, in any capitals."""
        return f"{column} LIKE ? ESCAPE '^'"

    def keep_writers_out(self, transaction: Transaction, table: str) -> None:
        """Let nobody else write to a table before the transaction ends."""

    def mentions(self, column: str, text: str) -> str:
        """Return the condition that a column of text or bytes holds a text of ASCII."""
        return f"instr(CAST({column} AS BLOB), CAST('{text}' AS BLOB)) > 0"


SQLITE = Dialect()


def dicts(names: Sequence[str], rows: Sequence[Row]) -> Rows:
    return [dict(zip(names, row, strict=True)) for row in rows]
