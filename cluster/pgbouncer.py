"""PgBouncer in transaction mode before a Postgres server: a connection is one's own for a transaction."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from .postgres import PostgresServer
from .processes import Server, ServerFailed, free_port, give, listens

_CONFIG = """\
[databases]
* = host=127.0.0.1 port={server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = md5
auth_file = {passwords}
pool_mode = transaction
default_pool_size = 10
max_client_conn = 500
"""


def find_pgbouncer() -> str | None:
    """Return the program; Debian keeps it off an ordinary user's PATH."""
    return shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")


class PgBouncer:
    """One PgBouncer that serves every database of its server."""

    def __init__(self, server: PostgresServer, *, tied: bool = True) -> None:
        program = find_pgbouncer()
        if program is None:
            raise ServerFailed("PgBouncer is not installed: `apt-get install pgbouncer`, as root.")
        self._program, self._postgres = program, server
        self.port = free_port()
        self.server = Server("pgbouncer", server.server.folder, tied=tied)

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        config = self.server.folder / "pgbouncer.ini"
        values = {"server": self._postgres.port, "own": self.port, "passwords": self._postgres.passwords_file}
        config.write_text(_CONFIG.format_map(values), encoding="utf-8")
        give(config)
        self.server.launch(Path(self._program), [str(config)], lambda: listens(self.port))

    def stop(self) -> None:
        """Stop it at once."""
        self.server.signal(signal.SIGTERM)

    def url(self, url: str) -> str:
        """Return the way through it to a database of its server."""
        return url.replace(f":{self._postgres.port}/", f":{self.port}/")
