"""What sending traces costs: CPU per call beside Langfuse's own handler, and what a dead server delays.

Every contender runs in a process of its own; they take turns within each round. The receiver and the
model are processes too, whose CPU does not count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .contenders import question
from .processes import Rounds, options_of, run_apart, server, stub_server

MODULE = ("-m", "benchmarks.tracing_overhead")
CHAIN, REPEATS = 10, 40
LATENCY_S = 0.03  # of the model, where the wall-clock counts

CPU = ("plain", "plain + Langfuse's handler", "session", "session + Tracing")
WALL = ("off", "nobody there", "refusing (401)", "failing (500)", "hanging 30 s")
# The receivers' status, and the seconds that they wait before it.
RECEIVERS = {
    "good": ("200", "0"),
    "refusing (401)": ("401", "0"),
    "failing (500)": ("500", "0"),
    "hanging 30 s": ("200", "30"),
}


def chained() -> Any:
    from stepgraph import chain

    return chain(*[question()] * CHAIN).compile()


def langfuse_handler(url: str) -> tuple[Any, Any]:
    """Return Langfuse's own handler and client, on a tracer provider of their own."""
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler
    from opentelemetry.sdk.trace import TracerProvider

    client = Langfuse(
        public_key="pk-lf-bench",
        secret_key="sk-lf-bench",
        base_url=url,
        tracer_provider=TracerProvider(),
    )
    return CallbackHandler(public_key="pk-lf-bench"), client


def tracing_to(url: str) -> Any:
    from stepgraph.tracing import Tracing
    from stepgraph.tracing.export.settings import TracingSettings, langfuse

    return Tracing(TracingSettings(destinations=(langfuse("pk-lf-bench", "sk-lf-bench", url),)))


async def cpu(contender: str, model: str, receiver: str) -> float:
    """Return the CPU milliseconds per call of one round, what is left to send included."""
    from stepgraph import Session, using

    app = chained()
    models = {"model": "stub", "base_url": model, "price": {"input": 1, "output": 2}}
    with using(models), tempfile.TemporaryDirectory() as folder:
        handler, client = langfuse_handler(receiver) if "handler" in contender else (None, None)

        async def runs(number: int, file: str) -> None:
            session: Any = nullcontext()
            if contender.startswith("session"):
                tracing = tracing_to(receiver) if "Tracing" in contender else None
                session = Session(Path(folder) / file, tracing=tracing)
            with session:
                for run in range(number):
                    config: Any = {"callbacks": [handler]} if handler is not None else {}
                    if contender.startswith("session"):
                        config = session.config()
                    await app.ainvoke({"number": run, "text": ""}, config)
            if client is not None:
                client.flush()

        await runs(3, "warm.sqlite")
        start = time.process_time()
        await runs(REPEATS, "runs.sqlite")
        return (time.process_time() - start) * 1e3 / (REPEATS * CHAIN)


def wall(contender: str, model: str, receiver: str) -> dict[str, float]:
    """Return the seconds of a run of 100 calls, of closing the session, and of CPU in both."""
    from stepgraph import Session, using

    app = chained()

    async def calls(session: Any) -> None:
        for number in range(100 // CHAIN):
            await app.ainvoke({"number": number, "text": ""}, session.config())

    with using({"model": "stub", "base_url": model}), tempfile.TemporaryDirectory() as folder:
        tracing = None if contender == "off" else tracing_to(receiver)
        session = Session(Path(folder) / "runs.sqlite", tracing=tracing)
        start, used = time.perf_counter(), time.process_time()
        asyncio.run(calls(session))
        ran = time.perf_counter()
        session.close()
        closed = time.perf_counter() - ran
        return {"run": ran - start, "close": closed, "cpu": time.process_time() - used}


def serve(status: int, wait_s: float) -> None:
    """Be a receiver that takes everything and answers with a status, after a wait."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(wait_s)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    print(receiver.server_port, flush=True)
    sys.stdin.read()


def turned(names: tuple[str, ...], by: int) -> tuple[str, ...]:
    """Return the names in another order each round, so that none is always the first."""
    by %= len(names)
    return names[by:] + names[:by]


def unused_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(int(options.serve[0]), float(options.serve[1]))
        return
    if options.worker:
        kind, name, model, receiver = options.worker
        result = asyncio.run(cpu(name, model, receiver)) if kind == "cpu" else wall(name, model, receiver)
        print(json.dumps(result), flush=True)
        os._exit(0)  # not waiting for anybody's exit handlers: they are not what is measured
    times: dict[str, list[float]] = {name: [] for name in CPU}
    walls: Rounds = {name: [] for name in WALL}
    urls = {"off": "", "nobody there": unused_url()}
    with ExitStack() as stack:
        model = stack.enter_context(stub_server())
        slow_model = stack.enter_context(stub_server(LATENCY_S))
        for name, (status, wait) in RECEIVERS.items():
            urls[name] = stack.enter_context(server(*MODULE, "--serve", status, wait))
        for number in range(options.rounds):
            print(f"round {number + 1}", file=sys.stderr)
            for name in turned(CPU, number):
                times[name].append(run_apart(*MODULE, "--worker", "cpu", name, model, urls["good"]))
            for name in turned(WALL, number):
                walls[name].append(run_apart(*MODULE, "--worker", "wall", name, slow_model, urls[name]))

    print(f"CPU ms per call, chain of {CHAIN}, median (min - max) of {options.rounds} rounds")
    for name, values in times.items():
        print(f"  {name:30} {statistics.median(values):6.2f}  ({min(values):.2f} - {max(values):.2f})")
    medians = {name: statistics.median(values) for name, values in times.items()}
    handler, ours = medians[CPU[1]] - medians[CPU[0]], medians[CPU[3]] - medians[CPU[2]]
    print(f"  Langfuse's handler adds {handler:.2f}, Tracing {ours:.2f}")
    print("wall-clock of 100 calls, beside off in the same round; closing the session; CPU: medians, seconds")
    for name, rounds_of in walls.items():
        keys = ("run", "close", "cpu")
        run, close, used = (statistics.median(one[key] for one in rounds_of) for key in keys)
        pairs = sorted(one["run"] / off["run"] for one, off in zip(rounds_of, walls["off"], strict=True))
        ratio = f"{statistics.median(pairs):.3f} ({pairs[0]:.3f} - {pairs[-1]:.3f}) of off"
        print(f"  {name:16} {run:6.3f}  {ratio}  close {close:.3f}  CPU {used:.3f}")


if __name__ == "__main__":
    main()
