"""A study that is planned, researched and written up: what the tests of the orchestrator stand on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from stepgraph import (
    Ask,
    orchestrate,
    step,
)


class Task(BaseModel):
    title: str
    text: str = ""


@dataclass
class Study:
    subject: str = "tea"
    tasks: list[Task] = field(default_factory=list)
    more: list[Task] = field(default_factory=list)
    findings: list[Task] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    report: str = ""
    complete: bool = False


@step("tasks")
def plan(study: Study) -> Ask[list[Task]]:
    return Ask(f"Subtasks for {study.subject}")


@step("text")
def research(task: Task) -> Ask[str]:
    return Ask(f"Research {task.title}")


@step("report")
def write_up(study: Study) -> Ask[str]:
    return Ask("Write up: " + "; ".join(task.text for task in study.findings))


@step("more")
def wants(study: Study) -> Ask[list[Task]]:
    return Ask(f"What else? {study.report}")


def tasks(*titles: str) -> list[dict[str, str]]:
    return [{"title": title} for title in titles]


def answers(*plans: Any, more: tuple[Any, ...] = ()) -> Any:
    """Answer plans in turn, and everything else in capitals."""
    left = {"plan": list(plans), "wants": list(more)}

    def answer(request: Any, context: Any) -> Any:
        if context.step in left:
            return left[context.step].pop(0)
        return str(request.messages[-1]["content"]).upper()

    return answer


study = orchestrate(plan, research, write_up, into="findings")
