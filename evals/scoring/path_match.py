"""Whether a run's path fits the expected one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..suite.model import PathExpected


def path_problem(expected: PathExpected, actual: Sequence[str]) -> str | None:
    """Say how a path differs from the expected one, None if it fits.

    Only what the expectation speaks of counts: of a graph that it names the inside does not, of one
    that it does not name only the inside does.
    """
    wanted = list(expected.nodes)
    nodes = spoken_of(wanted, actual)
    shown = " > ".join(nodes) or "nothing"
    if expected.match == "strict":
        return None if nodes == wanted else f"expected {' > '.join(wanted)}, went {shown}"
    if expected.match == "order":
        rest = iter(nodes)
        late = next((node for node in wanted if node not in rest), None)
        return None if late is None else f"{late} did not come in its order; went {shown}"
    more, fewer = Counter(nodes) - Counter(wanted), Counter(wanted) - Counter(nodes)
    problems = []
    if more and expected.match in ("unordered", "subset"):
        strange = [n for n in more if expected.match == "unordered" or n not in wanted]
        problems += [f"{', '.join(strange)} came unexpectedly"] if strange else []
    if fewer and expected.match in ("unordered", "superset"):
        problems.append(f"{', '.join(fewer)} did not come")
    return "; ".join(problems) or None


def spoken_of(wanted: Sequence[str], actual: Sequence[str]) -> list[str]:
    """Return the nodes of a path that an expectation is about: its own, and those beside them."""
    graphs = {node[:end] for node in actual for end, char in enumerate(node) if char == "/"}
    inside = tuple(f"{name}/" for name in wanted)
    return [
        node
        for node in actual
        if node in wanted
        or not (node in graphs or node.rpartition("/")[2] == "begin" or node.startswith(inside))
    ]
