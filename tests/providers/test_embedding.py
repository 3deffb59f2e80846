from __future__ import annotations

import logging

import pytest

from stepgraph.providers.embedding import DIMENSIONS, embed


def test_texts_become_unit_vectors_that_are_near_for_near_meanings() -> None:
    cat, kitten, invoice = embed(["a small cat", "a kitten", "the unpaid invoice"])
    assert len(cat) == DIMENSIONS
    assert sum(x * x for x in cat) == pytest.approx(1, abs=1e-3)

    def alike(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert alike(cat, kitten) > alike(cat, invoice) + 0.1


def test_loading_leaves_the_log_as_it_is() -> None:
    before = logging.getLogger().handlers[:]
    embed(["x"])
    assert logging.getLogger().handlers == before
