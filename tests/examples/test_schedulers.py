"""The flows of other schedulers in examples/schedulers hand runs to workers, with the real packages.

They have an environment of their own, as where they are used: `make schedulers` makes it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from stepgraph import aworker

from ..servers import Answer, ChatServer, Fault

ROOT = Path(__file__).parents[2]
SCHEDULERS = ROOT / "examples" / "schedulers"
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "eu-west-1",
}
# `dags test` runs a DAG in one process, triggers included.
AIRFLOW = " && ".join(
    f"$PYTHON -m airflow {command}" for command in ("db migrate", "dags reserialize", "dags test letters")
)

pytestmark = pytest.mark.xdist_group("schedulers")  # one at a time: each brings a server of its own


def python_of(scheduler: str) -> Path:
    python = ROOT / f".venv-{scheduler}" / "bin" / "python"
    if not python.exists():
        pytest.skip(
            f"{scheduler} is not installed: `make schedulers` installs it, apart from stepgraph's own"
        )
    return python


@pytest.fixture
def answering(server: ChatServer) -> ChatServer:
    server.always = Answer("Dear you.")
    return server


@asynccontextmanager
async def worker(file: Path, server: ChatServer) -> AsyncIterator[None]:
    ready = asyncio.Event()
    models = {"model": "m", "base_url": server.url}
    serving = asyncio.create_task(
        aworker(f"{SCHEDULERS / 'letter.py'}:app", db=file, models=models, ready=ready.set)
    )
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        assert not serving.done(), serving.result()
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def run(folder: Path, *command: str | Path, **environment: str) -> str:
    """Run a program with the workers' database at hand, and return what it printed."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    own = {
        "STEPGRAPH_DB": str(folder / "runs.sqlite"),
        "PREFECT_HOME": str(folder),
        "AIRFLOW_HOME": str(folder),
    }
    places = os.pathsep.join([str(ROOT), str(SCHEDULERS)])
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**known, **QUIET, **own, "PYTHONPATH": places, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, (out + err).decode()[-5000:]
    return out.decode()


async def test_a_prefect_flow_waits_for_its_runs(tmp_path: Path, answering: ChatServer) -> None:
    python = python_of("prefect")
    async with worker(tmp_path / "runs.sqlite", answering):
        out = await run(tmp_path, python, SCHEDULERS / "prefect_flow.py", "Ada", "Grace")
    assert out.splitlines()[-2:] == ["Dear you."] * 2
    assert answering.calls == 4


async def test_a_task_that_prefect_tries_again_pays_nothing_twice(
    tmp_path: Path, answering: ChatServer
) -> None:
    python = python_of("prefect")
    answering.will(Answer("An outline"), Fault(status=400))  # the run fails; the task is tried again
    async with worker(tmp_path / "runs.sqlite", answering):
        out = await run(tmp_path, python, SCHEDULERS / "prefect_flow.py", "Ada")
    assert out.splitlines()[-1] == "Dear you."
    assert answering.calls == 3


async def test_an_airflow_task_defers_until_its_run_has_ended(tmp_path: Path, answering: ChatServer) -> None:
    python = python_of("airflow")
    dags = {"PYTHON": str(python), "AIRFLOW__CORE__DAGS_FOLDER": str(SCHEDULERS)}
    async with worker(tmp_path / "runs.sqlite", answering):
        await run(tmp_path, "sh", "-c", AIRFLOW, **dags)
    with closing(sqlite3.connect(tmp_path / "airflow.db")) as database:
        assert database.execute("SELECT value FROM xcom").fetchall() == [('"Dear you."',)]
    assert answering.calls == 2


async def test_an_activity_of_step_functions_tells_how_runs_ended(
    tmp_path: Path, answering: ChatServer
) -> None:
    python = python_of("prefect")  # boto3 is there too
    tasks = {"first": {"run": "one", "to": "Ada"}, "again": {"run": "one", "to": "Ada"}}
    with step_functions(tasks) as (address, told):
        async with worker(tmp_path / "runs.sqlite", answering):
            activity = asyncio.create_task(
                run(
                    tmp_path, python, SCHEDULERS / "step_functions.py", "arn:letter", AWS_ENDPOINT_URL=address
                )
            )
            heard = asyncio.create_task(asyncio.to_thread(told.wait, 120))
            await asyncio.wait({activity, heard}, return_when=asyncio.FIRST_COMPLETED)
            activity.cancel()
            await asyncio.gather(activity, return_exceptions=True)
    output = json.dumps({"status": "done", "text": "Dear you."})
    assert sorted(told.said) == [("SendTaskSuccess", token, output) for token in ("again", "first")]
    assert answering.calls == 2


class Told(threading.Event):
    """What the activity said; set once it has said something of each task."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[str, str, str]] = []


@contextmanager
def step_functions(tasks: dict[str, dict[str, str]]) -> Iterator[tuple[str, Told]]:
    """Serve an activity's tasks as AWS does, one after the other."""
    told, waiting = Told(), list(tasks.items())

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            what = self.headers["X-Amz-Target"].rpartition(".")[2]
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer: dict[str, Any] = {}
            if what == "GetActivityTask":
                if waiting:
                    token, task = waiting.pop(0)
                    answer = {"taskToken": token, "input": json.dumps(task)}
                else:
                    told.wait(0.2)
            elif what != "SendTaskHeartbeat":
                told.said.append((what, asked["taskToken"], asked.get("output", "")))
                if len(told.said) == len(tasks):
                    told.set()
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}", told
        finally:
            httpd.shutdown()
            thread.join()
