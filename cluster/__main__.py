"""`make cluster` and `make cluster-down`: Postgres and Temporal on this machine, for a first look.

The servers go on when the terminal closes. `.cluster/` in the clone remembers their folder and ports, so that
the next `make cluster` brings the same data back at the same addresses.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .postgres import PostgresServer
from .processes import ServerFailed, give, is_alive, listens, running_pid
from .temporal import TemporalServer

_KEPT = Path(__file__).parents[1] / ".cluster" / "servers.json"
_DATABASE = "stepgraph"


def up() -> None:
    """Start what does not run yet, and print what to type next."""
    settings = _read_kept()
    folder = Path(settings.get("folder", "-"))
    folder = folder if folder.is_dir() else _new_folder()

    def port(name: str, server: str) -> int | None:
        """Return the port of before, unless another program has it by now."""
        is_ours = running_pid(folder, server) is not None
        return settings[name] if name in settings and (is_ours or not listens(settings[name])) else None

    postgres = PostgresServer(folder, tied=False, quick=False, port=port("postgres", "postgres-server"))
    page = port("page", "temporal")
    temporal = TemporalServer(
        folder, tied=False, kept=True, page=page or True, port=port("temporal", "temporal")
    )
    if running_pid(folder, "postgres-server") is None:
        postgres.start()
    if running_pid(folder, "temporal") is None:
        temporal.start()
    if not postgres.admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_DATABASE]).fetchone():
        postgres.create(_DATABASE)
    _KEPT.parent.mkdir(exist_ok=True)
    now = {"folder": str(folder), "postgres": postgres.port, "temporal": temporal.port, "page": temporal.page}
    _KEPT.write_text(json.dumps(now), encoding="utf-8")
    print(f"Postgres and Temporal run. Their data is in {folder}.")
    print(f"Temporal's page is at http://127.0.0.1:{temporal.page}.")
    print("In every terminal, type this first:\n")
    print(f"    export STEPGRAPH_DB={postgres.url(_DATABASE)}")
    print("\nThen start two workers, and give them work:\n")
    print(f"    stepgraph worker --on temporal://{temporal.address} blog.py:blog &")
    print(f"    stepgraph worker --on temporal://{temporal.address} blog.py:blog &")
    print(f"    stepgraph run blog.py:blog -i topic=tea --on temporal://{temporal.address}")
    print("\n`make cluster-down` stops both servers and keeps the data.")


def down() -> None:
    """Stop both; the data stays."""
    folder = Path(_read_kept().get("folder", "-"))
    running = [pid for name in ("temporal", "postgres-server") if (pid := running_pid(folder, name))]
    for pid in running:
        os.kill(pid, signal.SIGINT)
    ends = time.monotonic() + 30
    while any(map(is_alive, running)) and time.monotonic() < ends:
        time.sleep(0.05)
    for pid in filter(is_alive, running):
        os.kill(pid, signal.SIGQUIT)
    for file in folder.glob("*.pid"):
        file.unlink()
    print(f"Stopped. The data is kept in {folder}." if running else "Nothing was running.")


def _read_kept() -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(_KEPT.read_text(encoding="utf-8")) if _KEPT.exists() else {}
    return settings


def _new_folder() -> Path:
    """Make a folder that the servers' user may enter, as root's home is not; it outlives a restart."""
    base = Path("/var/tmp")  # noqa: S108 - mkdtemp makes it private
    return give(Path(tempfile.mkdtemp(prefix="stepgraph-", dir=base if base.is_dir() else None)))


if __name__ == "__main__":
    actions = {"up": up, "down": down}
    if len(sys.argv) != 2 or sys.argv[1] not in actions:
        sys.exit("Say `python -m cluster up` or `python -m cluster down`.")
    try:
        actions[sys.argv[1]]()
    except ServerFailed as failed:
        sys.exit(str(failed))
