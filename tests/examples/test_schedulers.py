"""The flows of other schedulers in examples/schedulers hand runs to workers, with the real packages.

They have an environment of their own, as where they are used: `make schedulers` makes it.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
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
# `dag.test()` runs a DAG in one process, triggers included.
TEST_DAG = """
from airflow_dag import dag
run = dag.test()
assert run.state == "success", run.state
(task,) = run.get_task_instances()
print("it wrote:", task.xcom_pull(task_ids="letter"))
"""

pytestmark = pytest.mark.xdist_group("schedulers")  # one at a time: each brings a server of its own


def python_of(scheduler: str) -> Path:
    python = ROOT / f".venv-{scheduler}" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{scheduler} is not installed: `make schedulers` installs it, apart from stepgraph's own")
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
    try:
        assert not serving.done(), serving.result()
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def run(folder: Path, *command: str | Path, **environment: str) -> str:
    """Run a program with the workers' database at hand, and return what it printed."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    own = {"STEPGRAPH_DB": str(folder / "runs.sqlite"), "PREFECT_HOME": str(folder), "AIRFLOW_HOME": str(folder)}
    places = os.pathsep.join([str(ROOT), str(SCHEDULERS)])
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**known, **QUIET, **own, "PYTHONPATH": places, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
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
    await run(tmp_path, python, "-m", "airflow", "db", "migrate")
    async with worker(tmp_path / "runs.sqlite", answering):
        out = await run(tmp_path, python, "-c", TEST_DAG)
    assert "it wrote: Dear you." in out
    assert answering.calls == 2


async def test_an_activity_of_step_functions_tells_how_runs_ended(
    tmp_path: Path, answering: ChatServer
) -> None:
    python = python_of("prefect")  # boto3 is there too
    answering.will(Answer("An outline"), Answer("Dear you."), Fault(status=400))
    with step_functions([{"run": "one", "to": "Ada"}, {"run": "two", "to": "Grace"}]) as (address, told):
        async with worker(tmp_path / "runs.sqlite", answering):
            process = asyncio.create_task(
                run(tmp_path, python, SCHEDULERS / "step_functions.py", "arn:letter", AWS_ENDPOINT_URL=address)
            )
            await asyncio.wait({process, asyncio.create_task(asyncio.to_thread(told.wait))}, timeout=60)
            process.cancel()
            await asyncio.gather(process, return_exceptions=True)
    assert sorted(told.said, key=lambda said: said[1]["taskToken"]) == []


class Told(threading.Event):
    """What the activity said; set once it has said as much as it was asked."""

    def __init__(self, tasks: list[dict[str, str]]) -> None:
        super().__init__()
        self.tasks = list(tasks)
        self.expected = len(tasks)
        self.said: list[tuple[str, dict[str, Any]]] = []


@contextmanager
def step_functions(tasks: list[dict[str, str]]) -> Iterator[tuple[str, Told]]:
    """Serve tasks of an activity as AWS does, one after the other."""
    told = Told(tasks)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            what = self.headers["X-Amz-Target"].rpartition(".")[2]
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer: dict[str, Any] = {}
            if what == "GetActivityTask":
                if told.tasks:
                    task = told.tasks.pop(0)
                    answer = {"taskToken": task["run"], "input": json.dumps(task)}
                else:
                    told.wait(0.2)
            else:
                told.said.append((what, asked))
                if len(told.said) == told.expected:
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
