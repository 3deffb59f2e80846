"""A second connection to Postgres, which reads what is committed beside everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from ...database import PostgresAddress
from ...errors import StoreError
from ..dialect import Rows, dicts
from .connecting import connect, explained
from .sql import translator
from .tables import names


class PostgresReader:
    """A connection that reads what is committed."""

    def __init__(self, address: PostgresAddress) -> None:
        self._address = address
        self._connection = connect(address)
        self._translated = translator(address.schema, names())

    def query(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Return the rows of a SELECT as dictionaries. Raises StoreError."""
        try:
            with self._connection.transaction():
                self._connection.execute("SET TRANSACTION READ ONLY")
                cursor = self._connection.execute(self._translated(sql).encode(), values)
                return dicts([column.name for column in cursor.description or ()], cursor.fetchall())
        except psycopg.errors.ReadOnlySqlTransaction as error:  # of this transaction alone
            raise StoreError(f"{self._address}: {error.diag.message_primary}. Only read here.") from None
        except psycopg.Error as error:
            raise explained(error, self._address) from None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
