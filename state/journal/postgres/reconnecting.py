"""Finds the database again after its connection was lost: a server that restarts is back within seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...database import PostgresAddress
from ...errors import StoreError
from .connecting import Connection, connect

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
                return connect(self._address)
            except StoreError as error:
                if is_given_up() or time.monotonic() > deadline:
                    give_up(error)
            time.sleep(LATER_S if is_given_up() else PAUSE_S)
        return None
