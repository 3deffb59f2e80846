"""At which node the result turns: B goes on from many states of A's trials, before and after each node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ..statistics.grouping import grouped
from .screen import Key

DRAWS = 1000


@dataclass(frozen=True)
class Going:
    """How runs ended that went on from one place: `anew` are the nodes that B ran, all others are A's."""

    anew: frozenset[str]
    scores: tuple[float, ...]


Goings = Mapping[Key, Sequence[Going]]


def indistinct(goings: Goings, nodes: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the nodes, together those that B never ran one without the other."""
    groups: dict[tuple[bool, ...], list[str]] = {}
    for node in nodes:
        places = tuple(node in going.anew for own in goings.values() for going in own)
        groups.setdefault(places, []).append(node)
    return [tuple(group) for group in groups.values()]


def losses(goings: Goings, node: str) -> dict[str, float]:
    """Return each case's mean score where B ran a node, less that where A had."""
    pairs: list[tuple[str, float]] = []
    for (case, _), own in goings.items():
        ours = [score for going in own if node in going.anew for score in going.scores]
        theirs = [score for going in own if node not in going.anew for score in going.scores]
        if ours and theirs:
            pairs.append((case, fmean(ours) - fmean(theirs)))
    return {case: fmean(changes) for case, changes in grouped(pairs).items()}


def likelihoods(goings: Goings, nodes: Sequence[str]) -> dict[str, float]:
    """Return in which share of resampled suites each node alone explains the loss best.

    Each trial is a block: what it has in common, whatever B ran, does not count.
    """
    import numpy as np

    cases = list(dict.fromkeys(case for case, _ in goings))
    moved, turned = np.zeros((len(cases), len(nodes))), np.zeros((len(cases), len(nodes)))
    for (case, _), own in goings.items():
        scored = [going for going in own if going.scores]
        if len(scored) < 2:
            continue
        weight = np.array([len(going.scores) for going in scored], float)
        score = np.array([fmean(going.scores) for going in scored])
        anew = np.array([[node in going.anew for node in nodes] for going in scored], float)
        score = score - np.average(score, weights=weight)
        anew = anew - np.average(anew, axis=0, weights=weight)
        row = cases.index(case)
        moved[row] += (weight * score) @ anew
        turned[row] += weight @ (anew * anew)
    drawn = np.random.default_rng(40_000).multinomial(len(cases), [1 / len(cases)] * len(cases), DRAWS)
    fallen: Any = np.minimum(drawn @ moved, 0.0)
    explained = fallen**2 / np.maximum(drawn @ turned, 1e-12)
    best = np.where(explained.max(axis=1) > 0, explained.argmax(axis=1), -1)
    return {node: float((best == number).mean()) for number, node in enumerate(nodes)}
