"""Layouts: nothing lies on anything else, edges lead down, loops lead back."""

from __future__ import annotations

import re
from itertools import combinations, pairwise

from hypothesis import given, settings, strategies as st

from stepgraph.graphs.layouts import Box, _down, lay_out

NAMES = "abcdefgh"


def overlap(one: Box, other: Box) -> bool:
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.bottom
        and other.y < one.bottom
    )


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=20),
    st.lists(st.tuples(st.integers(10, 300), st.integers(10, 200)), min_size=8, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_no_node_lies_on_another_and_every_edge_is_drawn(
    edges: list[tuple[str, str]], sizes: list[tuple[int, int]]
) -> None:
    layout = lay_out(dict(zip(NAMES, sizes, strict=True)), edges)
    assert set(layout.boxes) == set(NAMES)
    assert set(layout.paths) == set(edges)
    for one, other in combinations(layout.boxes.values(), 2):
        assert not overlap(one, other)
    for box in layout.boxes.values():
        assert box.x >= -0.1
        assert box.x + box.width <= layout.width + 0.1
        assert box.bottom <= layout.height + 0.1


def test_a_chain_goes_down_and_a_loop_back_at_the_right() -> None:
    edges = [("a", "b"), ("b", "c"), ("c", "b")]
    layout = lay_out(dict.fromkeys("abc", (100.0, 40.0)), edges)
    tops = [layout.boxes[name].y for name in "abc"]
    assert tops == sorted(tops)
    start, *_ = layout.paths["c", "b"].removeprefix("M").split("C")
    assert start == "100.0 128.0" or float(start.split()[0]) == layout.boxes["c"].x + 100
    assert layout.width > 100


def test_an_edge_passes_beside_the_nodes_between_its_ends() -> None:
    layout = lay_out(dict.fromkeys("abc", (100.0, 40.0)), [("a", "b"), ("b", "c"), ("a", "c")])
    assert layout.boxes["a"].y < layout.boxes["b"].y < layout.boxes["c"].y
    assert layout.paths["a", "c"].count("C") == 2


def test_long_chains_are_no_trouble() -> None:
    names = [str(number) for number in range(3000)]
    layout = lay_out(dict.fromkeys(names, (100.0, 40.0)), list(pairwise(names)))
    assert layout.width == 100


def test_nothing_at_all_is_laid_out_too() -> None:
    assert lay_out({}, []).height == 0


def test_a_loop_of_one_node_leaves_it_and_comes_back_below() -> None:
    layout = lay_out({"a": (100.0, 40.0)}, [("a", "a")])
    box = layout.boxes["a"]
    numbers = [float(number) for number in re.findall(r"[\d.]+", layout.paths["a", "a"])]
    xs, ys = numbers[::2], numbers[1::2]
    assert xs[0] == xs[-1] == box.x + box.width
    assert xs[1] == xs[2] > xs[0]
    assert ys[0] == ys[1] == box.y + 12
    assert ys[2] == ys[3] == box.y + 28


def test_a_way_through_a_stop_goes_on_from_its_lower_edge() -> None:
    boxes = [Box(0, 0, 100, 40), Box(20, 60, 20, 30), Box(50, 120, 80, 40)]
    assert _down(boxes) == ("M50.0 40.0C50.0 50.0 30.0 50.0 30.0 60.0V90.0C30.0 105.0 90.0 105.0 90.0 120.0")
