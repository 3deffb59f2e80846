"""What to say of a SELECT that names a column which is not there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ...state.errors import did_you_mean


def columns_hint(wrong: str, columns: Mapping[str, Sequence[str]]) -> str:
    """Return which column may be meant, and which ones there are in the tables of the query."""
    near = did_you_mean(wrong, {name for names in columns.values() for name in names})
    listed = "; ".join(f"{table}: {', '.join(names)}" for table, names in columns.items())
    return f"{near} {listed}." if columns else near


def named_in(sql: str, tables: Iterable[str]) -> list[str]:
    """Return those of the tables that a text of SQL names."""
    words = set(re.findall(r"\w+", sql.lower()))
    return [table for table in tables if table.lower() in words]
