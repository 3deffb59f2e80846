"""The tutorial, walked through in its order by somebody with an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..servers import free_port
from ..warm import run_python

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?(?: exit=(\d))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = "8123"

pytestmark = pytest.mark.slow


class Reader:
    """Types what the tutorial says into files and a shell of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = str(free_port())
        self.output: dict[str, str] = {}
        self._running: list[subprocess.Popen[bytes]] = []

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text.replace(PORT, self.port), encoding="utf-8")

    def type(self, line: str, exit_code: int) -> None:
        background = line.endswith("&")
        words = shlex.split(line.rstrip("& ").replace(PORT, self.port))
        variables = dict(words.pop(0).split("=") for word in [*words] if word.startswith("STEPGRAPH_"))
        command = [*{"python": [], "stepgraph": ["-m", "stepgraph"]}[words[0]], *words[1:]]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **variables}
        if background:
            whole = [sys.executable, *command]
            self._running.append(subprocess.Popen(whole, cwd=self.folder, env=environment))
            self._wait()
            return
        done = run_python(*command, cwd=self.folder, env=environment)
        self.output[line] = done.stdout
        assert done.returncode == exit_code, f"{line}\n{done.stdout}\n{done.stderr}"

    def _wait(self) -> None:
        for _ in range(2400):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", int(self.port))) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("the server in the background does not answer")

    def printed(self, command: str) -> str:
        return next(text for line, text in self.output.items() if command in line)

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    reader.close()


def test_every_step_works_in_an_empty_folder(reader: Reader) -> None:
    for language, title, code, text in FENCE.findall(PAGE):
        if title:
            reader.write(title, text)
            continue
        assert language == "sh", f"nobody runs {text}"
        for line in text.splitlines():
            if not line.startswith(("pip ", ". ", "python3 -m venv")):
                reader.type(line, int(code or 0))
    assert "We are sorry. A new one is on its way." in reader.printed("stepgraph show first")
    assert "partial" in reader.printed("--thread tight")
    assert len(re.findall("stand-in", reader.printed("stepgraph show tight"))) == 3
    assert reader.printed("WHERE thread_id = 'crash'").split()[-4:-2] == ["answer", "2"]
    assert reader.printed("WHERE thread_id = 'crash'").split()[-2:] == ["sort", "1"]
    assert "done" in reader.printed("python main.py")
    assert "undecided" in reader.printed("stepgraph eval compare")
