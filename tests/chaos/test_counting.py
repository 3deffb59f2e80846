"""What the kill matrix counts as in flight, and what it must never take for that."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .cluster.lives import Place
from .cluster.trial import Reference, Trial
from .compositions.lives import Ending

KEY = ["task", "hash", 0]


@dataclass
class Story:
    """What happened to one question: who claimed the thread, asked, and committed; moments are numbers."""

    place: Place
    lines: list[dict[str, Any]] = field(default_factory=list)
    on_record: list[tuple[Any, ...]] = field(default_factory=list)

    def claims(self, life: int, at: float) -> None:
        self._note({"claimed": "t", "life": life, "at": at})

    def asks(self, life: int, at: float, *, begun: float | None = None) -> None:
        """Have a life ask what it looked for, and was checked for, when that was `begun`."""
        begun = at if begun is None else begun
        self.lines.append(
            {
                "life": life,
                "thread": "t",
                "step": "s",
                "call": KEY,
                "at": at,
                "looked": begun,
                "checked": begun,
            }
        )

    def commits(self, life: int, at: float, *, noted: bool = True) -> None:
        began = next(line["looked"] for line in reversed(self.lines) if line["life"] == life)
        self.on_record.append(("t", *KEY, began))
        if noted:
            self._note({"committed": ["t", *KEY], "life": life, "at": at})

    def _note(self, line: dict[str, Any]) -> None:
        with self.place.asked.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def asked(self, run: str) -> list[dict[str, Any]]:
        return list(self.lines)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.on_record if "'rejected'" in sql else []


@pytest.fixture
def story(tmp_path: Path) -> Any:
    return Story(Place(tmp_path, 3, True, run="run"))


@pytest.fixture
def trial(story: Any) -> Trial:
    return Trial(story.place, story, story, Reference({}, Counter(hash=1), Counter(), 0), random.Random(1))


def faults(trial: Trial) -> list[str]:
    trial._count()
    trial._judge(Ending("done", {}))
    return [fault.partition(":")[0] for fault in trial.faults]


def test_what_a_zombie_sends_when_it_wakes_was_in_flight_when_it_was_stopped(
    story: Story, trial: Trial
) -> None:
    story.claims(1, 0)
    trial._count(1)  # it is stopped, with a call that is checked but not sent
    story.claims(2, 5)
    story.asks(2, 6)
    story.commits(2, 7)
    story.asks(1, 9, begun=1)  # it wakes
    trial._count(1)
    assert faults(trial) == []
    assert trial._in_flight == {"hash": 1}


def test_what_it_sends_was_in_flight_though_the_other_was_called_off_as_its_answer_was_committed(
    story: Story, trial: Trial
) -> None:
    story.claims(1, 0)
    trial._count(1)  # it is stopped, with a call that is checked but not sent
    story.claims(2, 5)
    story.asks(2, 6)
    story.commits(2, 7, noted=False)  # the rest of a vote that is decided
    story.asks(1, 9, begun=1)  # it wakes
    trial._count(1)
    assert faults(trial) == []
    assert trial._in_flight == {"hash": 1}


def test_one_that_lost_its_lease_by_itself_had_its_calls_in_flight(story: Story, trial: Trial) -> None:
    story.claims(1, 0)
    story.asks(1, 1)
    story.claims(2, 5)
    story.asks(2, 6)
    story.commits(2, 7)
    trial._count(2)  # who is killed, or stopped
    assert faults(trial) == []
    assert trial._in_flight == {"hash": 1}


def test_a_call_whose_process_was_killed_was_in_flight(story: Story, trial: Trial) -> None:
    story.claims(1, 0)
    story.asks(1, 1)
    trial._count(1)
    story.claims(2, 5)
    story.asks(2, 6)
    story.commits(2, 7, noted=False)
    assert faults(trial) == []


def test_what_one_life_asks_twice_under_one_claim_was_not(story: Story, trial: Trial) -> None:
    story.claims(1, 0)
    story.asks(1, 1)
    story.asks(1, 2)
    story.commits(1, 3)
    assert faults(trial) == ["beyond"]


def test_what_is_asked_again_though_it_was_on_record_was_not(story: Story, trial: Trial) -> None:
    story.claims(1, 0)
    story.asks(1, 1)
    story.commits(1, 2)
    story.claims(2, 5)
    story.asks(2, 6)
    assert "beyond" in faults(trial)


def test_an_answer_that_is_gone_is_lost(story: Story, trial: Trial) -> None:
    story.claims(1, 0)
    story.asks(1, 1)
    story.commits(1, 2)
    trial._count(1)
    story.on_record.clear()
    assert "lost" in faults(trial)
