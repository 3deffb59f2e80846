"""What a page hands to a command is taken as it is, on every system."""

from __future__ import annotations

import io
import json
import sys

import click
import pytest

from stepgraph.cli import app
from stepgraph.cli.from_stdin import run


def test_no_argument_stands_for_files_or_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[object] = []
    arguments = ["fork", "--prompt=$SECRET %SECRET% ~ *", "--", "a"]

    def noted(self: click.BaseCommand, args: object = None, **_: object) -> None:
        taken.append(args)  # click expands what it takes from the process, on Windows, and nothing else

    monkeypatch.setattr(type(app.cli), "main", noted)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(arguments)))
    run()
    assert taken == [arguments]
