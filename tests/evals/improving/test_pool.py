"""Which prompts a search goes on from."""

from __future__ import annotations

from random import Random

from stepgraph.evals.improving.pool import Candidate, Pool


def pool(*rows: tuple[float, ...]) -> Pool:
    return Pool([Candidate(f"p{n}", {f"c{k}": v for k, v in enumerate(row)}) for n, row in enumerate(rows)])


def test_the_front_has_what_no_other_makes_superfluous() -> None:
    assert pool((0, 0), (1, 0), (0, 1)).front() == {1: 1, 2: 1}
    assert pool((0, 0), (1, 1), (0, 1)).front() == {1: 2}
    assert pool((1, 0), (1, 0)).front() in ({0: 2}, {1: 2})
    assert pool((0.5, 0.2, 0.1), (0.4, 0.9, 0.9)).front() == {0: 1, 1: 2}


def test_every_front_covers_the_best_of_each_case_and_nobody_in_it_is_dominated() -> None:
    draw = Random(3)
    for _ in range(200):
        rows = [tuple(draw.choice((0, 0.5, 1)) for _ in range(4)) for _ in range(draw.randint(1, 5))]
        found = pool(*rows).front()
        for case in range(4):
            assert max(rows[n][case] for n in found) == max(row[case] for row in rows)
        assert pool(*rows).draw(draw) in found


def test_two_that_complement_each_other_are_joined_once() -> None:
    both = pool((0, 0), (1, 0), (0, 1))
    assert both.complementing([]) == (1, 2)
    assert both.complementing([(1, 2)]) is None
    assert pool((0, 0), (1, 1)).complementing([]) is None
