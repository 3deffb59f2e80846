"""Faults planted in a workflow of five nodes, and whether blame finds them: `make evals-blame`.

A stub with a seed stands in for the model: each node is right with a certain probability, which depends on
the case, and is seldom right on a wrong input. In version B one node is made worse. The same version
twice, without any fault, must not have a node blamed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.evals.diagnosis.blame import Blame, ablame
from stepgraph.evals.running.runner import arun_suite
from stepgraph.evals.suite.model import Case, Expected, Suite

NODES = ("sort", "find", "check", "draft", "polish")
RIGHT = 0.92
ON_WRONG_INPUT = 0.15
REPEATS = 3


@dataclass
class Work:
    text: str
    sort: str = ""
    find: str = ""
    check: str = ""
    draft: str = ""
    polish: str = ""


def _asking(name: str, before: str) -> Any:
    def ask(work: Work) -> Ask[str]:
        return Ask(f"{work.text}|{getattr(work, before)}")

    ask.__name__ = name
    return step(name)(ask)


graph = chain(
    *(_asking(name, before) for name, before in zip(NODES, ("text", *NODES), strict=False)), name="five"
)


@dataclass(frozen=True)
class Plan:
    """One experiment: `fault` is how many points the node loses on average, None plants nothing.

    `hidden` is the share of the node's bad answers that its own score does not see. Without `scored` no
    node has a score of its own, only the output has.
    """

    seed: int
    node: str | None
    fault: float = 0.0
    cases: int = 60
    scored: bool = True
    hidden: float = 0.0


class Stub:
    """Answers "good", or "bad", or "sly", which is bad but looks good to the node's own score."""

    def __init__(self, plan: Plan, version: str) -> None:
        self._plan, self._version = plan, version

    def __call__(self, request: Any, context: Any) -> str:
        case, _, given = str(request.messages[-1]["content"]).rpartition("|")
        ease = Random(f"{self._plan.seed}/{case}/{context.step}").betavariate(RIGHT * 8, (1 - RIGHT) * 8)
        if self._version == "b" and context.step == self._plan.node:
            ease *= 1 - self._plan.fault / RIGHT
        healthy = given in ("good", case)
        draw = Random(f"{self._plan.seed}/{self._version}/{context.thread_id}/{context.step}")
        if draw.random() < (ease if healthy else ON_WRONG_INPUT):
            return "good"
        return "sly" if draw.random() < self._plan.hidden else "bad"


def looks_good(answer: str) -> bool:
    return answer in ("good", "sly")


def suite_of(plan: Plan) -> Suite:
    from stepgraph.evals.scoring.evaluators import Code

    cases = [
        Case(f"c{n}", {"text": f"c{n}"}, Expected(output={NODES[-1]: "good"}, has_output=True))
        for n in range(plan.cases)
    ]
    evaluators = [Code(name=f"{n} is good", node=n, field=n, function=looks_good) for n in NODES]
    return Suite("five", cases, repeats=REPEATS, concurrency=8, evaluators=evaluators if plan.scored else ())


async def _carry_out(plan: Plan, folder: Path) -> Blame:
    suite, compiled = suite_of(plan), graph.compile()
    async with Session(folder / "runs.sqlite") as session:
        results = {}
        for version in "ab":
            with using(ScriptedModel(Stub(plan, version))):
                results[version] = await arun_suite(suite, compiled, session, run=version)
        with using(ScriptedModel(Stub(plan, "b"))):
            return await ablame(results["a"], results["b"], suite, compiled, session)


def carry_out(plan: Plan) -> Blame:
    """Run both versions and blame a node."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_carry_out(plan, Path(folder)))


def outcome_of(plan: Plan, found: Blame) -> str:
    """Return "right", "wrong" or "none"; what is blamed is always confirmed by a graft."""
    if found.verdict != "blamed":
        return "none"
    assert any(graft.worse and graft.node == found.node for graft in found.grafts)
    return "right" if found.node == plan.node else "wrong"


def _one(plan: Plan) -> dict[str, Any]:
    found = carry_out(plan)
    return {
        **asdict(plan),
        "outcome": outcome_of(plan, found),
        "blamed": found.node,
        "suspects": sorted({s.node for s in found.screened if s.suspect}),
        "graft_calls": found.cost.calls,
    }


def campaign(plans: list[Plan], jobs: int) -> list[dict[str, Any]]:
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return list(pool.map(_one, plans))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=20)
    options.add_argument("--first", type=int, default=0, help="the first seed")
    options.add_argument("--faults", type=float, nargs="+", default=[0.2])
    options.add_argument("--kinds", nargs="+", default=["scored"], choices=["scored", "hidden", "unscored"])
    options.add_argument("--jobs", type=int, default=2)
    options.add_argument("--to", type=Path, help="append every outcome there, as JSON lines")
    given = options.parse_args()
    kinds: dict[str, dict[str, Any]] = {
        "scored": {},
        "hidden": {"hidden": 0.3},
        "unscored": {"scored": False},
    }
    good = True
    seeds = range(given.first, given.first + given.seeds)
    for kind in given.kinds:
        for fault in (None, *given.faults):
            plans = [
                Plan(seed, None if fault is None else NODES[seed % 5], fault or 0.0, **kinds[kind])
                for seed in seeds
            ]
            rows = campaign(plans, given.jobs)
            if given.to:
                with given.to.open("a") as file:
                    file.writelines(json.dumps({"kind": kind, **row}) + "\n" for row in rows)
            counts = Counter(row["outcome"] for row in rows)
            calls = sum(row["graft_calls"] for row in rows) / len(rows)
            planted = "no fault" if fault is None else f"{fault:.0%} lost"
            shares = ", ".join(
                f"{name} {counts[name] / len(rows):.1%}" for name in ("right", "wrong", "none")
            )
            print(
                f"{kind:<9} {planted:<9} {len(rows)} seeds: {shares}; {calls:.0f} calls for grafts",
                flush=True,
            )
            good &= counts["wrong"] / len(rows) <= 0.05
            good &= fault is None or kind != "scored" or fault < 0.2 or counts["right"] / len(rows) >= 0.65
    if not good:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
