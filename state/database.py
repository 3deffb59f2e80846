"""Where runs are kept: in a SQLite file, or in a Postgres database that many machines share."""

from __future__ import annotations

import hashlib
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

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
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
        login, _, place = parts.netloc.rpartition("@")
        host, port = _places(place)
    except ValueError as error:
        raise StoreError(
            f"The address of the Postgres database cannot be read: {error}. Expected: "
            "postgresql://user:password@host:port/database."
        ) from None
    schema = parameters.pop(_OURS, SCHEMA)
    if not schema.isidentifier() or len(schema) > 63 or schema != schema.lower():
        raise StoreError(
            f"schema={schema!r} in the address of the Postgres database: a schema's name here has small "
            "letters, digits and _ only."
        )
    host, port = parameters.get("host") or host, parameters.get("port") or port
    user = parameters.get("user") or login.partition(":")[0]
    name = parts.path.strip("/")
    shown = f"postgresql://{f'{user}@' if user else ''}{_shown(host or 'localhost', port)}/{name}"
    if schema != SCHEMA:
        shown += f"?{_OURS}={schema}"
    if "," in place:  # in this form SQLAlchemy takes several hosts, too: DBOS uses it
        place = ""
        parameters |= {"host": host, **({"port": port} if port else {})}
    netloc = f"{login}@{place}" if login else place
    options = f"?{urlencode(parameters)}" if parameters else ""
    conninfo = f"postgresql://{netloc}{parts.path}{options}"
    return PostgresAddress(conninfo, shown, schema)


def _places(netloc: str) -> tuple[str, str]:
    """Return the hosts and the ports of an address, each with commas between: libpq takes several."""
    places = [urlsplit(f"//{place}") for place in netloc.split(",")]
    hosts = ",".join(place.hostname or "" for place in places)
    ports = [str(place.port or "") for place in places]
    return hosts, ",".join(ports) if any(ports) else ""


def _shown(hosts: str, ports: str) -> str:
    named, numbers = hosts.split(","), ports.split(",")
    numbers = numbers * len(named) if len(numbers) == 1 else numbers  # one port is that of all hosts
    pairs = zip(named, numbers, strict=False)
    return ",".join(
        f"{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}" for host, port in pairs
    )


def is_missing(database: Database) -> bool:
    """Tell whether there is no such file; a Postgres database tells itself when it is opened."""
    return isinstance(database, Path) and not database.exists()


def option_for(database: Database) -> str:
    """Return the option with which a command finds the same database, if it takes one.

    An address is shown without its password: Postgres takes it from PGPASSWORD or ~/.pgpass as well.
    """
    named = os.environ.get(VARIABLE)
    if database == (database_of(named) if named else DEFAULT):
        return ""
    return f" --db {shlex.quote(str(database))}"


def variable_for(database: Database) -> str:
    """Return what another process finds the database by, in its environment: with the password."""
    if isinstance(database, Path):
        return str(database.absolute())
    if database.schema == SCHEMA:
        return database.conninfo
    sign = "&" if "?" in database.conninfo else "?"
    return f"{database.conninfo}{sign}{_OURS}={database.schema}"
