"""The database that a command reads, and how the commands that it suggests name it."""

from __future__ import annotations

import os
import shlex

from ...state.database import DEFAULT, VARIABLE, Database, database_of


def option_for(database: Database) -> str:
    """Return the option with which another command finds the same database, if it takes one.

    An address is shown without its password: Postgres takes it from PGPASSWORD or ~/.pgpass as well.
    """
    named = os.environ.get(VARIABLE)
    if database == (database_of(named) if named else DEFAULT):
        return ""
    return f" --db {shlex.quote(str(database))}"
