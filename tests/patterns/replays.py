"""Replays of each pattern, alone and around each other one: an unchanged graph asks nothing.

python -m tests.patterns.replays        each pattern around each
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from stepgraph import ScriptedModel, Session, chain, using
from stepgraph.evals.replays.cases import CaseDifference
from stepgraph.evals.replays.replay import replay

from .cases import CASES, Task, write
from .test_matrix import Model, to_the_end


def replayed(session: Session, thread: str, *names: str) -> tuple[CaseDifference, int]:
    """Record a run of patterns around each other, and return its replay, and how often that asked a model."""
    part = write
    for name in reversed(names):
        part = CASES[name].build(part)
    graph = chain(part, name="outer").compile()
    with using(Model()):
        to_the_end(graph, Task(), session.config(thread))
    model = ScriptedModel(lambda request, context: "asked anew")
    with using(model):
        report = replay(graph, session, f"thread={thread}", run=f"of-{thread}", jobs=1)
    (case,) = report.cases
    return case, len(model.asks)


def problem_of(case: CaseDifference, asked: int) -> str | None:
    """Say what is wrong with the replay of an unchanged graph, None if nothing is."""
    if asked or case.what or case.departure or case.stopped:
        return (
            f"asked {asked}, differs in {case.what}: {dict(case.differs)}, {case.departure}, {case.stopped}"
        )
    return None


def main() -> int:
    """Print the pairs of patterns whose replay is not what it replays."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder, Session(Path(folder) / "runs.sqlite") as session:
        for number, (outer, inner) in enumerate((a, b) for a in CASES for b in CASES):
            try:
                problem = problem_of(*replayed(session, f"t{number}", outer, inner))
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            if problem is not None:
                wrong += 1
                print(f"{outer} around {inner}: {problem:.400}")
    print(f"{len(CASES) ** 2 - wrong} of {len(CASES) ** 2} pairs")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
