"""One small example of each pattern, all over one state, each around a part that can be any pattern."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.types import interrupt

from stepgraph import (
    Ask,
    Budget,
    Passage,
    PlanRules,
    ToolCall,
    Workflow,
    agent,
    attempt,
    cascade,
    chain,
    end,
    ensemble,
    fan_out,
    gate,
    guard,
    map_reduce,
    orchestrate,
    refine,
    retrieve,
    review,
    route,
    rule,
    section,
    step,
    verify,
    vote,
    wait,
    within,
)


@dataclass
class Task:
    text: str = "tea"
    kind: Literal["plain", "other"] = "other"
    draft: str = ""
    score: int = 0
    safe: bool = False
    note: str = ""
    log: Annotated[list[str], operator.add] = field(default_factory=list)
    parts: list[Task] = field(default_factory=list)
    found: list[Passage] = field(default_factory=list)
    digest: Task | None = None


@step("draft")
def write(task: Task) -> Ask[str]:
    return Ask(f"Write {task.text}")


@step("draft")
def jot(task: Task) -> Ask[str]:
    return Ask(f"Jot {task.text}")


@step("note")
def publish(task: Task) -> Ask[str]:
    return Ask(f"Publish {task.text}")


@step("log")
def add(task: Task) -> Ask[list[str]]:
    return Ask(f"Add {task.text}")


@step("kind")
def classify(task: Task) -> Ask[Literal["plain", "other"]]:
    return Ask(f"Classify {task.text}")


@step("score")
def grade(task: Task) -> Ask[int]:
    return Ask(f"Grade {task.text} {task.draft}")


@step("score", model="judge")
def examine(task: Task) -> Ask[int]:
    return Ask(f"Grade {task.text} {task.draft}")


@step("safe")
def screen(task: Task) -> Ask[bool]:
    return Ask(f"Screen {task.text}")


@step("draft")
def combine(task: Task) -> Ask[str]:
    return Ask(f"Combine {task.text}")


@step("draft")
def act(task: Task) -> Ask[str]:
    return Ask(f"Act {task.text}")


@review("draft")
def look(task: Task) -> str:
    return f"Is this good? {task.draft}"


@review("draft", deadline=timedelta(days=1))
def look_in_time(task: Task) -> str:
    return f"Is this good? {task.draft}"


@retrieve("found", lambda query: [f"On {query}."])
def look_up(task: Task) -> str:
    return task.text


@rule("parts")
def cut(task: Task) -> list[Task]:
    return [Task(f"{task.text} {where}") for where in ("north", "south")]


@rule("draft")
def keep(task: Task) -> str:
    """The digest's draft, where one draft is made of several."""
    return task.digest.draft if task.digest else " ".join(part.draft for part in task.parts)


def join(parts: list[Task]) -> Task:
    return Task(parts[0].text.rpartition(" ")[0])


def note(task: Task) -> dict[str, list[str]]:
    return {"log": ["written"]}


def enough(task: Task) -> bool:
    return False


def pause(task: Task) -> dict[str, str]:
    return {"note": interrupt(f"Go on with {task.draft}?")}


def give_up(task: Task) -> dict[str, str]:
    raise LookupError("nothing to go by")


def answer_to(asked: Any) -> str:
    """Reviews are approved, waits go on at once, and plain questions get any word."""
    return "now" if isinstance(asked, dict) and "wait" in asked else "approve"


def good(score: int) -> bool:
    return score >= 5


def begin(draft: str) -> str:
    """What a vote counts by: drafts are numbered, and all begin alike."""
    return draft.split()[0]


def _agent(inner: Any) -> Workflow[Task]:
    app = chain(inner).compile()

    async def consult(subject: str, config: RunnableConfig) -> str:
        """Have a draft written."""
        result = await app.ainvoke(Task(subject), config)
        return str(result["draft"])

    return agent(act, tools=[consult], timeout_s=math.inf)


@dataclass(frozen=True)
class Case:
    """A pattern around a part.

    A run makes `own` model calls beside those of the part, which runs `runs` times; `kept` of its runs
    leave their log in the state. `absorbs` is for patterns whose business is to go on without a part
    that fails; `asks` is how often a person is asked.
    """

    build: Callable[[Any], Workflow[Task]]
    own: int
    runs: int = 1
    kept: int = 1
    absorbs: bool = False
    asks: int = 0

    def calls(self, inner: int = 1) -> int:
        return self.own + self.runs * inner


CASES: dict[str, Case] = {
    "chain": Case(lambda part: chain(part, publish), own=1),
    "gate": Case(lambda part: chain(part, gate(screen, bool)), own=1),
    "gate with repair": Case(lambda part: chain(part, gate(grade, good, repair=part)), own=2, runs=2, kept=2),
    "route": Case(lambda part: route(classify, {"plain": part, "other": publish}), own=1),
    "section": Case(lambda part: section({"one": part, "two": add}, merge=publish), own=2),
    "vote": Case(
        lambda part: vote(part, 2, field="draft", uncertain="?", key=begin), own=0, runs=2, absorbs=True
    ),
    "ensemble": Case(
        lambda part: ensemble([part, jot], field="draft", score=lambda draft: draft.startswith("draft")),
        own=1,
        absorbs=True,
    ),
    "guard": Case(lambda part: guard(part, screen, bool), own=1),
    "fan_out": Case(lambda part: chain(fan_out(cut, part, into="parts"), keep), own=0, runs=2, kept=0),
    "map_reduce": Case(
        lambda part: chain(
            map_reduce(cut, part, reduce=combine, join=join, into="digest", tokens=10_000), keep
        ),
        own=1,
        runs=2,
        kept=0,
    ),
    "orchestrate": Case(
        lambda part: orchestrate(
            cut, part, combine, into="parts", rules=PlanRules(subject=lambda task: task.text)
        ),
        own=1,
        runs=2,
        kept=0,
    ),
    "refine": Case(lambda part: refine(part, grade, until=good, rounds=3), own=2, runs=2, kept=2),
    "agent": Case(_agent, own=2, kept=0, absorbs=True),
    "verify": Case(lambda part: verify(part, examine, agrees=good, tries=1), own=2, runs=2, kept=2),
    "cascade": Case(lambda part: cascade(jot, part, check=grade, accept=good), own=2),
    "review": Case(lambda part: chain(part, look, publish), own=1, asks=1),
    "attempt": Case(lambda part: attempt(part, otherwise=jot), own=0, absorbs=True),
    "attempt that failed": Case(lambda part: attempt(give_up, otherwise=part, on=LookupError), own=0),
    "review with deadline": Case(lambda part: chain(part, look_in_time, publish), own=1, asks=1),
    "end": Case(
        lambda part: chain(chain(part, gate(enough, otherwise=end()), publish).compile(), publish), own=1
    ),
    "wait": Case(lambda part: chain(part, wait(until=timedelta(days=1)), publish), own=1, asks=1),
    "retrieve": Case(lambda part: chain(look_up, part), own=0),
    "within": Case(lambda part: within(part, Budget(calls=100)), own=0),
}


class Script:
    """Answers by the first word of the prompt; every draft has a number, every second grade is a good one."""

    def __init__(self) -> None:
        self._drafts = 0
        self._graded: Counter[str] = Counter()

    def answer(self, prompt: str, place: str = "", *, told: bool = False) -> Any:
        """Return what to say. `place` sets loops apart; `told` means that a tool has answered."""
        verb, _, subject = prompt.partition(" ")
        if verb == "Act" and not told:
            return ToolCall("consult", {"subject": subject})
        if verb == "Grade":
            self._graded[place] += 1
            return 5 if self._graded[place] % 2 == 0 else 1
        if verb in ("Write", "Combine", "Act"):
            self._drafts += 1
            return f"draft {self._drafts}"
        return {"Classify": "plain", "Screen": True, "Add": ["added"]}.get(verb, verb.lower())
