"""At which node the result turns, from how runs ended that went on from many states."""

from __future__ import annotations

from random import Random

import pytest

from stepgraph.evals.diagnosis.turning import Going, indistinct, likelihoods, losses

NODES = ("a", "b", "c", "d")


def goings(faulty: set[str], loss: float = 0.3) -> dict[tuple[str, int], list[Going]]:
    """Return runs of a chain that B took over before each node, or not at all."""
    draw = Random(7)
    found = {}
    for case in range(40):
        for repeat in (1, 2):
            own = []
            for done in range(len(NODES) + 1):
                anew = frozenset(NODES[done:])
                good = 0.9 - loss * len(faulty & anew)
                own.append(Going(anew, (float(draw.random() < good),)))
            found[f"c{case}", repeat] = own
    return found


@pytest.mark.parametrize("node", NODES)
def test_one_faulty_node_explains_the_loss_best(node: str) -> None:
    given = goings({node}, loss=0.6)
    likely = likelihoods(given, NODES)
    assert likely[node] > 0.95
    changes = list(losses(given, node).values())
    assert sum(changes) / len(changes) == pytest.approx(-0.6, abs=0.2)


def test_two_faulty_nodes_leave_it_open() -> None:
    likely = likelihoods(goings({"b", "d"}), NODES)
    assert max(likely.values()) < 0.95
    assert likely["b"] + likely["d"] > 0.8


def test_nodes_that_always_go_together_are_one() -> None:
    given = {("c", 1): [Going(frozenset("abc"), (1.0,)), Going(frozenset("c"), (1.0,))]}
    assert indistinct(given, ("a", "b", "c")) == [("a", "b"), ("c",)]
