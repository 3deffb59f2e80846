"""Finds the database again after its connection was lost: a server that restarts is back within seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg

from ...database import PostgresAddress
from ...errors import StoreError
from .connecting import Connection, connect, explained, takes_no_writes

WAIT_S = 30.0  # so long those who wait go on waiting
PAUSE_S = 0.2
LATER_S = 1.0


class Reconnecting:
    """Tries to connect until it can, or nobody wants to any more."""

    def __init__(self, address: PostgresAddress, is_closed: Callable[[], bool]) -> None:
        self._address = address
        self._is_closed = is_closed

    def connection(
        self, give_up: Callable[[StoreError], None], is_given_up: Callable[[], bool]
    ) -> Connection | None:
        """Return a connection, None once it is closed. After WAIT_S `give_up` is told why, and it goes on."""
        deadline = time.monotonic() + WAIT_S
        while not self._is_closed():
            try:
                return _connect_to_write(self._address)
            except StoreError as error:
                if is_given_up() or time.monotonic() > deadline:
                    give_up(error)
            time.sleep(LATER_S if is_given_up() else PAUSE_S)
        return None


def _connect_to_write(address: PostgresAddress) -> Connection:
    """Open a connection; a server that takes no writes (yet), as after a failover, is none: StoreError."""
    connection = connect(address)
    try:
        if connection.execute("SHOW transaction_read_only").fetchone() == ("off",):
            return connection
    except psycopg.Error as error:
        connection.close()
        raise explained(error, address) from None
    connection.close()
    raise takes_no_writes(address)
