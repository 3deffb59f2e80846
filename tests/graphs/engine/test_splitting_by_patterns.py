"""Patterns that give the items of a fan-out, the pieces of a map-reduce, and the plans of an orchestrator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stepgraph import (
    Ask,
    ScriptedModel,
    Session,
    Workflow,
    answering,
    chain,
    estimate,
    fan_out,
    map_reduce,
    orchestrate,
    step,
    using,
    vote,
)
from stepgraph.errors import DefinitionError, InputError


@dataclass
class Job:
    text: str = ""
    note: str = ""
    parts: list[Job] = field(default_factory=list)
    done: list[Job] = field(default_factory=list)
    whole: Job | None = None


@step("parts")
def cut(job: Job) -> Ask[list[Job]]:
    return Ask(f"Cut {job.note}")


@step("text")
def work(job: Job) -> Ask[str]:
    return Ask(f"Work {job.text}")


@step("note")
def sum_up(job: Job) -> Ask[str]:
    return Ask(f"Sum up {job.done}")


def survey(job: Job) -> dict[str, str]:
    return {"note": "three rooms"}


def join(jobs: list[Job]) -> Job:
    return Job("+".join(job.text for job in jobs))


def by_map_reduce(split: Any) -> Workflow[Job]:
    return map_reduce(split, work, join=join, into="whole", parts="done", tokens=10_000)


SPLITS: dict[str, Callable[[], Any]] = {
    "chain": lambda: chain(survey, cut, name="split"),
    "compiled": lambda: answering(chain(survey, cut, name="split").compile(), "parts"),
    "vote": lambda: vote(cut, 1, uncertain=[], name="split"),
}
FANS: dict[str, tuple[Callable[[Any], Workflow[Job]], int]] = {
    "fan_out": (lambda split: fan_out(split, work, into="done"), 3),
    "map_reduce": (by_map_reduce, 4),
    "orchestrate": (lambda split: orchestrate(split, work, sum_up, into="done"), 4),
    "orchestrate again": (
        lambda split: orchestrate(cut, work, sum_up, into="done", more=split, rounds=2),
        8,
    ),
}


class Model(ScriptedModel):
    def __init__(self) -> None:
        super().__init__(self._say)

    def _say(self, request: Any, context: Any) -> Any:
        number = len(self.asks)
        return [{"text": f"{n} of {number}"} for n in ("one", "two")] if context.step == "cut" else "done"


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("fan", FANS)
def test_a_pattern_gives_the_items(fan: str, split: str, tmp_path: Path) -> None:
    build, calls = FANS[fan]
    graph = build(SPLITS[split]())
    with Session(tmp_path / "runs.sqlite") as session, using(model := Model()):
        result = graph.compile().invoke(Job(), session.config("t"))
        assert graph.compile().invoke(None, session.config("t")) == result
    assert len(model.asks) == calls <= estimate(graph).most_calls
    assert {job.text for job in result["done"]} == {"done"}


def test_a_plan_of_a_pattern_that_is_not_sound_is_refused_at_once() -> None:
    graph = orchestrate(chain(survey, cut, name="plan"), work, sum_up, into="done")
    with using(ScriptedModel([[]])), pytest.raises(InputError, match="'plan' gave no sound plan"):
        graph.compile().invoke(Job())


def test_a_pattern_that_does_not_say_its_answer_is_told() -> None:
    with pytest.raises(DefinitionError, match="answering"):
        fan_out(chain(survey), work, into="done")
