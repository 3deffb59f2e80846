"""A vote decides by the type of what it votes on, and says that there may be no majority."""

from dataclasses import dataclass
from typing import Literal, assert_type

from pydantic import BaseModel

from stepgraph import Ask, Workflow, cascade, chain, gate, guard, refine, route, step, verify, vote

Mood = Literal["good", "bad"]


class Grade(BaseModel):
    score: int = 0


@dataclass
class Letter:
    text: str = ""
    mood: Mood | None = None
    fine: bool = False
    grade: Grade | None = None


@step("mood")
def mood(letter: Letter) -> Ask[Mood]:
    return Ask(letter.text)


@step("fine")
def fine(letter: Letter) -> Ask[bool]:
    return Ask(letter.text)


@step("grade")
def grade(letter: Letter) -> Ask[Grade]:
    return Ask(letter.text)


@step("text")
def write(letter: Letter) -> Ask[str]:
    return Ask(letter.text)


moods = vote(mood, 3)
assert_type(moods, Workflow[Letter, Mood | None])
assert_type(vote([mood, mood.on("large")]), Workflow[Letter, Mood | None])
assert_type(vote(fine, 3, uncertain=False), Workflow[Letter, bool])
assert_type(vote(chain(write, mood), 3, field="mood"), Workflow[Letter])
assert_type(cascade(grade, grade.on("large"), accept=lambda found: found.score > 3), Workflow[Letter, Grade])

route(moods, {"good": write, "bad": write}, fallback=write)
guard(write, vote(fine, 3, uncertain=False), lambda passed: passed)
gate(vote(grade, 3), lambda found: found is not None and found.score > 3)
refine(write, vote(grade, 3), until=lambda found: bool(found and found.score > 3), rounds=2)
verify(write, vote(grade.on("judge"), 3), agrees=lambda found: bool(found and found.score > 3))

gate(chain(write, grade), lambda found: found.score > 3)  # nobody knows what a chain answers with
gate(chain(write, grade).compile(), lambda found: found.score > 3)
route(chain(write, mood), {"good": write, "bad": write})
any_workflow: Workflow[Letter] = moods
chain(moods, any_workflow, write)
