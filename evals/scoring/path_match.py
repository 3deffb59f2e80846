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
    came = spoken_of(wanted, actual)
    shown = " > ".join(came) or "nothing"
    if expected.match == "strict":
        return None if came == wanted else f"expected {' > '.join(wanted)}, went {shown}"
    if expected.match == "order":
        rest = iter(came)
        late = next((node for node in wanted if node not in rest), None)
        return None if late is None else f"{late} did not come in its order; went {shown}"
    more, fewer = Counter(came) - Counter(wanted), Counter(wanted) - Counter(came)
    problems = []
    if more and expected.match in ("unordered", "subset"):
        strange = [n for n in more if expected.match == "unordered" or n not in wanted]
        problems += [f"{', '.join(strange)} came unexpectedly"] if strange else []
    if fewer and expected.match in ("unordered", "superset"):
        problems.append(f"{', '.join(fewer)} did not come")
    return "; ".join(problems) or None


def spoken_of(wanted: Sequence[str], actual: Sequence[str]) -> list[str]:
    holders = {node.rpartition("/")[0] for node in actual}
    holders |= {outer for node in holders for outer in _outer(node)}

    def counts(node: str) -> bool:
        if node in wanted:
            return True
        hidden = node in holders or node.rpartition("/")[2] == "begin"
        return not hidden and not any(outer in wanted for outer in _outer(node))

    return [node for node in actual if counts(node)]


def _outer(node: str) -> list[str]:
    parts = node.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]
