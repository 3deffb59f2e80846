"""One exit code has one meaning: in the help, in the docs and in every command."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from stepgraph.cli.app import GROUPS, HOMES, cli, main
from stepgraph.cli.exit_codes import ExitCode, exit_code, help_text
from stepgraph.state import errors

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", [[], ["eval"]])
def test_the_help_lists_every_code_with_its_meaning(command: list[str]) -> None:
    output = CliRunner().invoke(cli, [*command, "--help"], terminal_width=200).output
    assert [line.split(maxsplit=1) for line in output.splitlines() if re.match(r" +\d  ", line)] == [
        [str(code.value), code.text] for code in ExitCode
    ]
    assert help_text().count("\n") == len(ExitCode) + 1


def test_the_docs_hold_the_table_of_the_codes() -> None:
    table = [
        "| exit code | meaning |",
        "|---|---|",
        *(f"| {code.value} | {code.text} |" for code in ExitCode),
    ]
    assert "\n".join(table) in (ROOT / "docs/runs.md").read_text(encoding="utf-8")


def test_codes_and_meanings_are_each_there_once() -> None:
    assert [code.value for code in ExitCode] == list(range(len(ExitCode)))
    assert len({code.text for code in ExitCode}) == len(ExitCode)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InputError("x"), ExitCode.BAD_INPUT),
        (errors.ThreadBusy("x"), ExitCode.BAD_INPUT),
        (errors.ModelError("x"), ExitCode.MODEL),
        (errors.StoreError("x"), ExitCode.STORE),
        (
            errors.BudgetExceeded("x", limit="calls", scope="the run", budget={}, spent={}),
            ExitCode.PARTIAL,
        ),
        (errors.StepgraphError("x"), ExitCode.FAILED),
        (ZeroDivisionError(), ExitCode.FAILED),
    ],
)
def test_an_error_has_a_code(error: Exception, code: ExitCode) -> None:
    assert exit_code(error) is code


def test_no_command_writes_a_code_as_a_bare_number() -> None:
    for file in (ROOT / "cli").rglob("*.py"):
        numbers = re.findall(r"(?:sys\.exit\(|return |code == )([3-9])\b", file.read_text(encoding="utf-8"))
        assert not numbers, file


def test_the_help_groups_the_commands_by_what_a_person_does_and_begins_with_run() -> None:
    output = CliRunner().invoke(cli, ["--help"]).output
    sections = re.findall(r"^ *([A-Z][a-z ]+):$", output, flags=re.M)
    assert sections == ["Options", *GROUPS, "Exit codes"]
    titles = "Run, Look, Decide, Measure, Replay, Code, Serve, Schedule, Deploy, Keep house"
    assert list(GROUPS) == titles.split(", ")
    listed = re.findall(r"^  ([a-z]+) {2}", output, flags=re.M)
    assert listed == list(HOMES)
    assert listed[0] == "run"


def test_whoever_calls_it_from_python_handles_sigterm_afterwards_as_before() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit):
            main(["no-such-command"])
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
