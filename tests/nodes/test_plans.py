"""Plans: what a subtask is about, and when two of them overlap."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from stepgraph.nodes.plans import likeness, problem_with, subject_of, without_overlaps


@dataclass
class Task:
    title: str
    why: str = ""
    pages: int = 0


def test_a_subject_is_the_text_in_a_task() -> None:
    assert subject_of(Task("tea", "it is popular", 3)) == "tea it is popular"
    assert subject_of(Task(" ", pages=3)) == '{"title":" ","why":"","pages":3}'


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ("history of tea", "The history of tea", 3 / 4),
        ("TEA, history of", "of history: tea!", 1.0),
        ("prices in Rome", "prices in Paris", 2 / 4),
        ("茶", "茶", 1.0),
        ("", "", 1.0),
        ("tea", "", 0.0),
    ],
)
def test_likeness_is_the_share_of_common_words(one: str, other: str, share: float) -> None:
    assert likeness(one, other) == pytest.approx(share)
    assert likeness(other, one) == likeness(one, other)


def test_all_overlaps_are_named_and_long_subjects_cut() -> None:
    problem = problem_with(["a", "b", "A", "b " * 90], max_items=9, similarity=1)
    assert problem is not None
    assert "Subtasks 1 and 3 overlap: 'a' and 'A'." in problem
    assert "Subtasks 2 and 4 overlap" in problem
    assert len(problem) < 300


def test_a_sound_plan_has_no_problem() -> None:
    assert problem_with(["history", "taste"], max_items=2, similarity=0.8) is None


def test_the_first_of_overlapping_tasks_is_kept() -> None:
    tasks = [Task("tea"), Task("taste"), Task("Tea!")]
    assert without_overlaps(tasks, subject_of, 0.8) == tasks[:2]
