"""A worker on Temporal that stands still: what it had goes to another one at once, and nothing more to it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stepgraph import asubmit
from stepgraph.runners.sessions import close_sessions

from ...child_path import child_path
from ...servers import Answer, ChatServer
from .places import LIMIT_S, until

temporal_client = pytest.importorskip("stepgraph.runners.engines.temporal_client")
pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("cluster")]
ROOT = Path(__file__).parents[3]
GRAPH = "tests.runners.engines.flows:plain"
WORKER = f"""
import asyncio, sys
from stepgraph import aworker
model = {{"model": "m", "base_url": sys.argv[1], "timeout_s": 3600}}
places = {{"db": sys.argv[2], "on": sys.argv[3]}}
asyncio.run(aworker({GRAPH!r}, **places, models=model, ready=lambda: print("ready", flush=True)))
"""


@contextmanager
def worker(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", WORKER, *arguments]
    environment = {**os.environ, "PYTHONPATH": child_path()}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


async def attempts(on: str, thread: str) -> int:
    """Return how often the server has given a thread's turn to a worker."""
    address = temporal_client.Address.read(on)
    handle = (await address.client()).get_workflow_handle(f"{address.queue}/{thread}")
    (pending,) = (await handle.describe()).raw_description.pending_activities
    return int(pending.attempt)


async def test_it_is_not_given_again_what_it_had(
    temporal_server: Any, server: ChatServer, tmp_path: Path
) -> None:
    on, db = f"temporal://{temporal_server.address}?queue={secrets.token_hex(4)}", str(tmp_path / "r.sqlite")
    server.will(Answer("", delay_s=3600), Answer("", delay_s=3600))
    with worker(server.url, db, on) as first:
        await asubmit(GRAPH, {"to": "Ada"}, db=db, on=on, thread_id="one")
        await until(lambda: server.calls == 1)
        first.send_signal(signal.SIGSTOP)
        with worker(server.url, db, on):
            await until(lambda: server.calls == 2)
            async with asyncio.timeout(LIMIT_S):
                assert await attempts(on, "one") == 2
    close_sessions()
