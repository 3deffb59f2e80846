"""200 concurrent runs of three calls each, kept in a file, in Postgres, and in Postgres behind PgBouncer.

    python -m benchmarks.postgres_store

The model is in the process and answers at once, so what is measured is the client. The servers are started
for it, on loopback; they write to the disk as they do in earnest. Contenders take turns within each round, so
trust the ratios, not the milliseconds.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypedDict

from cluster.pgbouncer import PgBouncer
from cluster.postgres import PostgresServer
from cluster.processes import own_folder
from stepgraph import Ask, Session, chain, step
from stepgraph.testing import ScriptedModel

AT_ONCE, CALLS, ROUNDS = 200, 3, 3
FILE, POSTGRES, BOUNCED = "SQLite", "Postgres", "Postgres through PgBouncer"


class State(TypedDict, total=False):
    first: str
    second: str
    third: str


MODEL = ScriptedModel(lambda *_: "Switch the lamp off and on again, then write to us.")


@step("first", model=MODEL)
def first(_: State) -> Ask[str]:
    return Ask("The lamp does not turn on.")


@step("second", model=MODEL)
def second(state: State) -> Ask[str]:
    return Ask(f"Make it friendlier: {state['first']}")


@step("third", model=MODEL)
def third(state: State) -> Ask[str]:
    return Ask(f"Make it shorter: {state['second']}")


APP = chain(first, second, third).compile()


def cpu_below(pid: int) -> float:
    """Return the CPU seconds of a process's children, those that ended included."""
    tick = os.sysconf("SC_CLK_TCK")
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")
        except OSError:
            continue
        fields = rest.split()
        if int(fields[1]) == pid:
            total += int(fields[11]) + int(fields[12])
        if int(name.split(" ", 1)[0]) == pid:
            total += int(fields[13]) + int(fields[14])
    return total / tick


async def runs(session: Session) -> None:
    await asyncio.gather(*(APP.ainvoke({}, session.config()) for _ in range(AT_ONCE)))


def measured(session: Session, server_cpu: Callable[[], float]) -> dict[str, float]:
    """Return, for each call, the milliseconds of CPU here and in the server; and the calls in a second."""
    server, client, wall = server_cpu(), time.process_time(), time.perf_counter()
    asyncio.run(runs(session))
    number = AT_ONCE * CALLS
    return {
        "client": 1000 * (time.process_time() - client) / number,
        "calls/s": number / (time.perf_counter() - wall),
        "server": 1000 * (server_cpu() - server) / number,
    }


def main() -> None:
    folder = own_folder()
    server = PostgresServer(folder, quick=False)
    server.start()
    bouncer = PgBouncer(server)
    bouncer.start()
    url = server.lend()
    pid = int((folder / "postgres" / "postmaster.pid").read_text(encoding="utf-8").split()[0])
    with tempfile.TemporaryDirectory() as files:
        places: dict[str, str] = {
            FILE: str(Path(files, "runs.sqlite")),
            POSTGRES: url,
            BOUNCED: f"{bouncer.url(url)}?schema=bounced",
        }
        figures: dict[str, list[dict[str, float]]] = {name: [] for name in places}
        sessions = {name: Session(place) for name, place in places.items()}
        for session in sessions.values():
            measured(session, lambda: cpu_below(pid))  # does not count
        for _ in range(ROUNDS):
            for name, session in sessions.items():
                figures[name].append(measured(session, lambda: cpu_below(pid)))
        for session in sessions.values():
            session.close()
    bouncer.stop()
    server.stop()
    medians = {
        name: {kind: median(each[kind] for each in found) for kind in found[0]}
        for name, found in figures.items()
    }
    print(f"{AT_ONCE} runs of {CALLS} calls at once, medians of {ROUNDS} rounds; CPU in ms per call")
    for name, found in medians.items():
        ratio = found["client"] / medians[FILE]["client"]
        print(
            f"{name:28} client {found['client']:5.2f} ({ratio:4.2f} x SQLite)  "
            f"Postgres {found['server']:5.2f}  {found['calls/s']:6.0f} calls/s"
        )
    print(f"PgBouncer / Postgres, client: {medians[BOUNCED]['client'] / medians[POSTGRES]['client']:.2f}")


if __name__ == "__main__":
    main()
