"""Where runs are kept: in a SQLite file, or in a Postgres database that many machines share."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from .errors import StoreError

VARIABLE = "STEPGRAPH_DB"
DEFAULT = Path("stepgraph.sqlite")
SCHEMES = ("postgresql", "postgres")
SCHEMA = "stepgraph"
_OURS = "schema"  # a part of the address that is not for libpq


@dataclass(frozen=True)
class PostgresAddress:
    """A Postgres database, and the schema in it that holds our tables; as text it hides the password."""

    conninfo: str = field(repr=False)  # for libpq, with the password
    shown: str
    schema: str = SCHEMA

    def __str__(self) -> str:
        return self.shown

    @property
    def local_file(self) -> Path:
        """The file beside which this user's processes keep what only this machine knows of the database."""
        state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        digest = hashlib.sha256(self.shown.encode()).hexdigest()[:16]
        return Path(state).expanduser() / "stepgraph" / f"postgres-{digest}"


Database = Path | PostgresAddress


def is_postgres(name: object) -> bool:
    """Tell whether a name is the address of a Postgres database."""
    return isinstance(name, PostgresAddress) or str(name).partition("://")[0] in SCHEMES


def database_of(name: str | Path | PostgresAddress) -> Database:
    """Return the database that a path or a postgresql:// address stands for."""
    if isinstance(name, PostgresAddress):
        return name
    return _address(str(name)) if is_postgres(name) else Path(name)


def _address(text: str) -> PostgresAddress:
    try:
        parts = urlsplit(text)
        user, host, port = parts.username, parts.hostname, parts.port
    except ValueError as error:
        raise StoreError(
            f"The address of the Postgres database cannot be read: {error}. Expected: "
            "postgresql://user:password@host:port/database."
        ) from None
    query = parse_qsl(parts.query, keep_blank_values=True)
    schema = next((value for name, value in query if name == _OURS), SCHEMA)
    if not schema.isidentifier() or len(schema) > 63 or schema != schema.lower():
        raise StoreError(
            f"schema={schema!r} in the address of the Postgres database: a schema's name here has small "
            "letters, digits and _ only."
        )
    given = dict(query)
    host = given.get("host") or host or "localhost"
    port_shown = given.get("port") or port or ""
    user = given.get("user") or user
    shown = (
        f"postgresql://{f'{user}@' if user else ''}{f'[{host}]' if ':' in host else host}"
        f"{f':{port_shown}' if port_shown else ''}/{parts.path.strip('/')}"
    )
    if schema != SCHEMA:
        shown += f"?{_OURS}={schema}"
    rest = urlencode([(name, value) for name, value in query if name != _OURS])
    conninfo = urlunsplit(("postgresql", parts.netloc, parts.path, rest, ""))
    return PostgresAddress(conninfo, shown, schema)


def is_missing(database: Database) -> bool:
    """Tell whether there is no such file; a Postgres database tells itself when it is opened."""
    return isinstance(database, Path) and not database.exists()
