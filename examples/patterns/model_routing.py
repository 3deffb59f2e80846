"""Two ways to pay for the strong model only where it is needed: a classifier picks, or a check escalates."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stepgraph import Ask, ScriptedModel, Session, cascade, route, step, using

Level = Literal["low", "medium", "high"]


@dataclass
class Task:
    text: str
    level: Level = "low"
    answer: str = ""


@step("level", model="small")
def complexity(task: Task) -> Ask[Level]:
    return Ask(f"How hard is this? {task.text}")


@step("answer")
def solve(task: Task) -> Ask[str]:
    return Ask(task.text)


def is_number(answer: str) -> bool | str:
    return answer.isdigit() or f"{answer!r} is not a number."


# 1 + 1 calls: the classifier picks the model for one and the same step.
routed = route(
    complexity,
    {"low": solve.on("small"), "medium": solve.on("medium"), "high": solve.on("large")},
)
# 1 to 3 calls: the cheapest answer that passes the check.
climbing = cascade(solve.on("small"), solve.on("medium"), solve.on("large"), accept=is_number)

if __name__ == "__main__":
    with Session(Path(tempfile.mkdtemp()) / "runs.sqlite") as session:
        small, medium = ScriptedModel(["medium", "about fifty"]), ScriptedModel(["51", "51"])
        with small, medium, using(small=small, medium=medium, large=ScriptedModel([])):
            print(routed.compile().invoke(Task("17 x 3?"), session.config("routed")))
            print(climbing.compile().invoke(Task("17 x 3?"), session.config("climbing")))
        for row in session.journal.query("SELECT thread_id, kind, choice, reason FROM decisions"):
            print(*row.values())
        for row in session.journal.query("SELECT thread_id, role, count(*) FROM calls GROUP BY 1, 2"):
            print(*row.values())
