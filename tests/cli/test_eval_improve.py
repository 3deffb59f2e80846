"""`stepgraph eval improve`: told before it starts, a prompt in a file, and no code changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepgraph.cli.exit_codes import ExitCode
from tests.servers import Answer

from .conftest import Command
from .test_eval_asks_once import DESK

SUITE = """
suite: desk
graph: desk.py:graph
cases:
""" + "".join(
    f"  - {{ id: t{n}, input: {{ body: ticket {n} }}, expect: {{ output: {{ reply: Paid. }} }} }}\n"
    for n in range(14)
)
COMMAND = ("eval", "improve", "desk.eval.yaml", "write", "--run", "r", "--write", "out/new.txt")


@pytest.fixture
def desk(tmp_path: Path, server: Any) -> Any:
    (tmp_path / "desk.py").write_text(DESK)
    (tmp_path / "desk.eval.yaml").write_text(SUITE)
    (tmp_path / "stepgraph.toml").write_text(
        "[models]\n"
        + "".join(
            f'{role} = {{ base_url = "{server.url}", model = "{role}", retries = 0, '
            "price = { input = 1, output = 1 } }\n"
            for role in ("writer", "reflector")
        )
    )
    proposal = json.dumps({"diagnosis": "so", "prompt": "Pay: {body}\x1b[31m<b>"})

    def decide() -> Answer:
        body = server.bodies[-1]
        if body["model"] == "reflector":
            return Answer(proposal)
        return Answer("Paid." if "Pay: " in json.dumps(body) else "No.")

    server.decide = decide
    return server


def test_a_better_prompt_is_shown_and_written_and_no_code_is_changed(
    command: Command, desk: Any, tmp_path: Path
) -> None:
    done = command(*COMMAND, "--budget", "calls=100", "--budget", "usd=1")
    assert done.code == 0, done.err
    told = done.err.splitlines()
    assert told[0].startswith("The prompt of write, measured by output: 7 cases to search on, 7 held out")
    assert told[1] == "It costs at most 100 calls and $1, and at least 22 calls without the search."
    assert "Better: write has a prompt that held-out cases prefer" in done.out
    assert "-Answer: {body}" in done.out
    assert "+Pay: {body}" in done.out
    assert "\x1b" not in done.out
    assert (tmp_path / "out/new.txt").read_text() == "Pay: {body}\x1b[31m<b>\n"
    assert (tmp_path / "desk.py").read_text() == DESK
    before = desk.calls
    refused = command(*COMMAND, "--budget", "calls=100")
    assert (refused.code, desk.calls) == (ExitCode.BAD_INPUT, before)
    assert "--force replaces it" in refused.err
    again = command(*COMMAND, "--budget", "calls=100", "--json", "--force")
    assert desk.calls == before
    assert again.rows[0]["verdict"] == "better"


@pytest.mark.parametrize("forced", [(), ("--force",)])
def test_a_file_that_somebody_writes_meanwhile_stays(
    command: Command, desk: Any, tmp_path: Path, forced: tuple[str, ...]
) -> None:
    file, answer = tmp_path / "out/new.txt", desk.decide
    file.parent.mkdir()
    if forced:
        file.write_text("old")

    def decide() -> Answer:
        file.write_text("mine")
        return answer()

    desk.decide = decide
    done = command(*COMMAND, "--budget", "calls=100", *forced)
    assert done.code == ExitCode.BAD_INPUT
    assert "was changed meanwhile" in done.err
    assert "+Pay: {body}" in done.out
    assert file.read_text() == "mine"


def test_nothing_is_written_unless_it_is_better(command: Command, desk: Any, tmp_path: Path) -> None:
    desk.decide = lambda: Answer('{"diagnosis": "", "prompt": "Hm. {body}"}')
    done = command(*COMMAND, "--budget", "calls=100", "--rounds", "1")
    assert done.code == 0, done.err
    assert "Not better: the prompt of write stays as it is" in done.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("desk.eval.yaml", "wriet", "--budget", "calls=99"), ExitCode.BAD_INPUT, "Did you mean 'write'?"),
        (("desk.eval.yaml", "write"), ExitCode.BAD_INPUT, "Say what it may cost"),
        (("desk.eval.yaml", "write", "--budget", "calls=9"), ExitCode.BAD_INPUT, "9 calls are too few"),
    ],
)
def test_what_is_wrong_costs_nothing(
    command: Command, desk: Any, arguments: tuple[str, ...], code: ExitCode, told: str
) -> None:
    done = command("eval", "improve", *arguments)
    assert (done.code, desk.calls) == (code, 0)
    assert told in done.err
    assert "Traceback" not in done.err


def test_a_budget_that_ends_leaves_a_partial_answer(command: Command, desk: Any) -> None:
    done = command(*COMMAND, "--budget", "calls=100", "--budget", "usd=0.000001")
    assert done.code == ExitCode.PARTIAL, done.err
    assert "same command with --run r" in done.out
