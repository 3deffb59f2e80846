"""Write a Python function that passes its tests: generate, run the tests in a sandbox, repair.

    stepgraph run code --input examples/functions.jsonl --model large=openai:gpt-5-mini

The model sees the task, not the tests, and after a failed round its code and what failed. Without a model
for the role `large`, the model for every role writes. The tests run in the code's own process: "passed" tells
right code from wrong code, not from code that sets out to cheat.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from ....nodes.ask import Ask
from ....nodes.rules import rule
from ....nodes.steps import step
from ....state.event_loops import run_sync
from ...patterns.chain import chain
from ...patterns.refine import refine
from .harness import Report, code_in, run_tests

Status = Literal["new", "passed", "failed"]

ROUNDS = 3


@dataclass
class CodeTask:
    """What is to be written, the tests that it must pass, and how they went."""

    task: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=8000)]
    tests: Annotated[list[str], Field(min_length=1, max_length=100)]
    answer: str = ""
    code: str = ""
    report: Report | None = None
    status: Status = "new"


@step("answer", model="large")
def write(job: CodeTask) -> Ask[str]:
    """Ask for the code; after a failed round, for a repair of it."""
    prompt = f"Write this Python function. Answer with one Python code block and nothing else.\n\n{job.task}"
    if job.report is not None and not job.report.ok:
        prompt += (
            f"\n\nYour last version was:\n```python\n{job.code}\n```\n"
            f"{job.report.passed} of {job.report.total} tests passed. These failed:\n{job.report.failures}\n"
            "\nAnswer with the whole corrected function."
        )
    return Ask(prompt, system="You write correct, plain Python.", max_tokens=600)


def extract(job: CodeTask) -> dict[str, str]:
    """Take the code out of the answer."""
    return {"code": code_in(job.answer)}


@rule("report")
def check(job: CodeTask) -> Report:
    """Run the tests in the sandbox."""
    isolated = os.environ.get("STEPGRAPH_SANDBOX", "") != "limits"
    return run_sync(run_tests(job.code, job.tests, isolated=isolated))


def conclude(job: CodeTask) -> dict[str, Status]:
    """Say whether the best version passes all its tests."""
    return {"status": "passed" if job.report is not None and job.report.ok else "failed"}


work = refine(
    chain(write, extract),
    check,
    until=lambda report: report.ok,
    score=lambda report: report.passed,
    rounds=ROUNDS,
)
graph = chain(work, conclude, name="code")
