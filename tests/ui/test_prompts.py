"""Prompts side by side: texts that are slow to compare hold no page up, and what is shown is whole."""

from __future__ import annotations

from stepgraph.ui.prompts import MOST_LINES, Work, contrasted


def test_only_so_much_is_compared_and_all_is_shown() -> None:
    a, b = "a b " * 50, "b a " * 50
    work = Work(left=50_000)  # for one pair of 200 parts each
    left, right = contrasted(a, b, work)
    assert left is not None
    assert any(not piece.differs for piece in left)
    for texts in ((a, b), ("x\n" * (MOST_LINES + 1), "y")):
        left, right = contrasted(*texts, work)
        assert left is not None
        assert right is not None
        assert ("".join(p.text for p in left), "".join(p.text for p in right)) == texts
        assert [(piece.differs) for piece in (*left, *right)] == [True, True]
    assert contrasted("same", "same", work)[0] is not None
