from __future__ import annotations

from stepgraph.evals.statistics.confusion import confusion


def test_counts_and_accuracy() -> None:
    table = confusion([("a", "a"), ("a", "b"), ("b", "b"), ("b", "b")])
    assert table.labels == ("a", "b")
    assert table.counts["a", "b"] == 1
    assert (table.right, table.total) == (3, 4)


def test_text_has_a_row_for_each_expected_and_a_column_for_each_actual_label() -> None:
    lines = str(confusion([("billing", "general"), ("general", "general")])).splitlines()
    assert lines[0].split() == ["expected", "billing", "general"]
    assert lines[1].split() == ["billing", "·", "1"]
    assert lines[2].split() == ["general", "·", "1"]
    assert lines[-1] == "1 of 2 right"


def test_no_pairs_is_no_error() -> None:
    assert confusion([]).total == 0
