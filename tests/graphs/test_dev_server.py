"""LangGraph's own dev server loads the ready graphs from langgraph.json and runs them, blocking nothing."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stepgraph.cli.support.starter import start

from ..servers import ChatServer

ROOT = Path(__file__).parents[2]
BODY = "I cancelled SG-1046 and want my money back. When do I get the refund of my payment?"


@pytest.fixture
def dev_server(tmp_path: Path, server: ChatServer) -> Iterator[str]:
    shutil.copy(ROOT / "langgraph.json", tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\n')
    with serving(tmp_path, server) as url:
        yield url


@contextmanager
def serving(folder: Path, server: ChatServer) -> Iterator[str]:
    """Start the dev server in a folder, with all models bound to the stub."""
    program = shutil.which("langgraph", path=Path(sys.executable).parent)
    assert program, "the extra 'studio' is not installed"
    (folder / "stepgraph.toml").write_text(
        f'[models]\ndefault = {{ base_url = "{server.url}", model = "served" }}\n'
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (folder / "server.log").open("w")
    words = [program, "dev", "--no-browser", "--no-reload", "--port", str(port)]
    process = subprocess.Popen(words, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/ok", process, folder / "server.log")
        yield url
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"the dev server did not start:\n{log.read_text()[-3000:]}")


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@pytest.mark.slow
def test_the_dev_server_runs_the_support_desk(dev_server: str, server: ChatServer, tmp_path: Path) -> None:
    server.will("Too short.", "Still no.", "Never.")
    result = _post(f"{dev_server}/runs/wait", {"assistant_id": "support-desk", "input": {"body": BODY}})
    assert result.get("__error__") is None, (tmp_path / "server.log").read_text()[-3000:]
    assert (result["topic"], result["order"], result["status"]) == ("billing", "SG-1046", "held")
    assert server.calls == 3


@pytest.mark.slow
def test_the_dev_server_runs_a_new_project(tmp_path: Path, server: ChatServer) -> None:
    start("my-flow")
    server.will("With vinegar.")
    with serving(tmp_path / "my-flow", server) as url:
        body = {"assistant_id": "my-flow", "input": {"text": "How do I descale a kettle?"}}
        assert _post(f"{url}/runs/wait", body)["reply"] == "With vinegar."
