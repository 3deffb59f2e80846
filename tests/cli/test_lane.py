"""The batch lane on the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..batch_apis import BatchServer
from ..batch_messages import doubled
from .conftest import Command


@pytest.fixture
def batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchServer]:
    """Batch APIs that the role `writer` of memo.py is bound to, in the working folder."""
    from .conftest import MEMO

    (tmp_path / "memo.py").write_text(MEMO)
    monkeypatch.chdir(tmp_path)
    with BatchServer() as server:
        (tmp_path / "stepgraph.toml").write_text(
            f'[models.writer]\nbase_url = "{server.address}/v1"\nmodel = "served"\nmax_tokens = 20\n'
            "price = { input = 2, output = 8 }\n"
            'batch = { api = "openai", quiet_s = 0.5, poll_s = 0.02, settle_s = 0.1 }\n'
        )
        yield server


def test_all_inputs_are_one_batch_and_the_price_is_half(
    batches: BatchServer, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": f"t{n}"}) + "\n" for n in range(5)))
    live, batch = (
        command("estimate", "memo.py:graph", "-i", "text=t", "--lane", lane, "--json").rows[0]["usd"]
        for lane in ("live", "batch")
    )
    assert batch == live / 2
    done = command("run", "memo.py:graph", "-i", "in.jsonl", "--lane", "batch", "--json")
    assert done.code == 0
    assert [row["cost_usd"] for row in done.rows] == [(100 * 2 + 20 * 8) / 1e6 / 2] * 5
    assert [len(batch.requests) for batch in batches.batches] == [5]
    assert not batches.live


def test_a_model_without_a_batch_api_is_told(batches: BatchServer, command: Command) -> None:
    done = command("run", "memo.py:graph", "-i", "text=t", "--lane", "batch", "--model", "writer=local")
    assert done.code == 2
    assert "the role 'writer' is bound to" in done.out + done.err
    assert not batches.batches


def test_a_stopped_command_leaves_its_batch_and_resume_collects_it(
    batches: BatchServer, command: Command, tmp_path: Path
) -> None:
    batches.hold = True
    words = ["run", "memo.py:graph", "-i", "text=t", "--lane", "batch", "--thread", "t"]
    root = Path(__file__).parents[2]
    running = subprocess.Popen(
        [sys.executable, "-m", "stepgraph", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + 60
        while not (batches.batches and batches.batches[0].polls > 1):  # so its id is on record
            assert time.monotonic() < end
            assert running.poll() is None
            threading.Event().wait(0.02)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)
    finally:
        running.kill()
    assert "waits for batch batch_0 (openai, served, 1 call), submitted at" in told
    assert "`stepgraph resume` collects it" in told
    for done in (command("show", "t"), command("threads")):
        assert "waits for batch batch_0 (openai, served, 1 call), submitted at 2" in done.out
    (shown,) = command("show", "t", "--json").rows
    assert shown["awaits"][0]["provider_id"] == "batch_0"
    batches.hold = False
    done = command("resume", "t")
    assert done.code == 0
    assert len(batches.batches) == 1
    assert not doubled(batches.ran)
    assert "waits for batch" not in command("show", "t").out
