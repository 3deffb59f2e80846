"""Opens connections to Postgres, and explains their errors; no password is ever in one."""

from __future__ import annotations

from typing import Any

from ...database import PostgresAddress
from ...errors import StoreError

try:
    import psycopg
except ImportError as missing:
    raise StoreError(
        f"A session in Postgres needs the package psycopg ({missing}). Install it: "
        "pip install 'stepgraph[postgres]'"
    ) from None

from .values import LOADERS

CONNECT_S = 10
_FULL = ("too many clients", "too many connections", "connection slots", "no more connections allowed")
READ_ONLY, CANCELED = "25006", "57014"
Connection = psycopg.Connection[tuple[Any, ...]]


def connect(address: PostgresAddress) -> Connection:
    """Open a connection. It works behind PgBouncer too: nothing is prepared, nothing set in its session."""
    try:
        connection = psycopg.connect(
            address.conninfo,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=CONNECT_S,
            cursor_factory=psycopg.RawCursor,
        )
    except psycopg.Error as error:
        raise explained(error, address) from None
    for kind, loader in LOADERS:
        connection.adapters.register_loader(kind, loader)
    return connection


def is_lost(error: BaseException) -> bool:
    """Tell whether the connection went, not the statement."""
    if not isinstance(error, psycopg.OperationalError):
        return False
    state = error.sqlstate
    return state is None or state == READ_ONLY or (state[:2] in ("08", "57") and state != CANCELED)


def is_deadlock(error: psycopg.Error) -> bool:
    """Tell whether another transaction and this one waited for each other: nothing of this one happened."""
    return error.sqlstate in ("40P01", "40001")


def explained(error: Exception, address: PostgresAddress) -> StoreError:
    """Return the StoreError that says what is wrong with the database and what to do next, in one line."""
    text = " ".join(str(error).split())
    state = getattr(error, "sqlstate", None) or ""
    if "password authentication failed" in text or state == "28P01":
        return StoreError(f"{address}: the password is wrong, or missing. Check the address.")
    if state == "53300" or any(words in text for words in _FULL):
        return StoreError(
            f"{address} has no connection left: {_reason(text)}. End some, raise max_connections, or connect "
            "through PgBouncer."
        )
    if "does not exist" in text and ("database" in text or "role" in text) and not state.startswith("42"):
        return StoreError(f"{address}: {_reason(text)}. Create it, or check the address.")
    if "SSL" in text or "TLS" in text or "certificate" in text:
        return StoreError(f"{address}: TLS failed: {_reason(text)}. See sslmode in the address.")
    if "refused" in text or "timeout" in text or "could not translate host" in text or "resolve" in text:
        return StoreError(f"{address} cannot be reached: {_reason(text)}. Check that Postgres runs there.")
    if state == "53100" or state == "53200":
        return StoreError(f"{address}: {_reason(text)}. Free some space, then resume the thread.")
    if state == "42501":
        return StoreError(
            f"{address}: {_reason(text)}. Its user needs CREATE on the database, or on the schema "
            f"{address.schema!r}."
        )
    if state == READ_ONLY:
        return takes_no_writes(address)
    if is_lost(error):
        return StoreError(f"{address}: the connection was lost ({_reason(text)}). Resume the thread.")
    return StoreError(f"{address}: {_reason(text)}.")


def takes_no_writes(address: PostgresAddress) -> StoreError:
    return StoreError(
        f"{address} takes no writes: it is a standby, or set to be read only. Promote it, or name the server "
        "that can be written to; with several in the address, target_session_attrs=read-write finds it."
    )


def _reason(text: str) -> str:
    text = text.partition(" Is the server running")[0]  # libpq's own advice: ours follows
    return text.rpartition("FATAL:")[2].strip().rstrip(".") or text
