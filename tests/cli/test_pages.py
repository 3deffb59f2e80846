"""`stepgraph ui` and `stepgraph export --html`."""

from __future__ import annotations

import http.client
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from .conftest import Command


@pytest.fixture
def one_run(command: Command, memo: Any) -> None:
    memo.will("a draft")
    assert command("run", "memo.py:graph", "-i", "text=mail ada@example.org", "--thread", "one").code == 0


def test_a_run_becomes_one_html_file(command: Command, one_run: None, tmp_path: Path) -> None:
    assert command("export", "one", "--html", "--to", "one.html").code == 0
    page = (tmp_path / "one.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "a draft" in page
    assert "ada@example.org" not in page
    assert command("export", "one", "--html").out.startswith("<!doctype html>")


def test_it_is_of_one_thread(command: Command, one_run: None) -> None:
    assert "Name one" in command("export", "--html").err
    assert command("export", "nobody", "--html").code == 2
    assert "cannot be written" in command("export", "one", "--html", "--to", "no/where.html").err


def test_there_must_be_something_to_look_at(command: Command, one_run: None) -> None:
    assert "There is no file" in command("ui", "--db", "nothing.sqlite").err
    assert "no thread 'nobody'" in command("ui", "nobody", "--no-open").err


def test_it_serves_until_it_is_interrupted(command: Command, one_run: None, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "stepgraph", "ui", "one", "--no-open"]
    with subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as ui:
        assert ui.stdout is not None
        address = ui.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/run\?thread=one&token=[\w-]{43}", address)
        assert "for you only" in ui.stdout.readline()
        assert "Ctrl-C" in ui.stdout.readline()
        parts = urlsplit(address)
        connection = http.client.HTTPConnection("127.0.0.1", parts.port or 0, timeout=30)
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, answer.getheader("location")) == (303, "/run?thread=one")
        connection.request("GET", "/run?thread=one", headers={"Cookie": str(answer.getheader("set-cookie"))})
        page = connection.getresponse().read().decode()
        assert "a draft" in page
        connection.close()
        ui.send_signal(signal.SIGINT)
        _, err = ui.communicate(timeout=120)
        assert ui.returncode == 0
    assert "token" not in err
    assert "Traceback" not in err
