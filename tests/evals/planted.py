"""Faults planted in graphs of many forms, and whether blame finds them: `make evals-blame`.

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
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from stepgraph import ScriptedModel, Session, using
from stepgraph.evals.diagnosis.blame import ablame
from stepgraph.evals.diagnosis.findings import Blame
from stepgraph.evals.files.results import Results
from stepgraph.evals.running.runner import arun_suite
from stepgraph.evals.scoring.evaluators import Code
from stepgraph.evals.statistics.intervals import share_interval
from stepgraph.evals.suite.model import Case, Expected, Suite

from .drawn import draw_experiment
from .planted_graphs import FORMS, HELD_OUT, Form, form_of

RIGHT = 0.92
ON_WRONG_INPUT = 0.15
REPEATS = 3


@dataclass(frozen=True)
class Plan:
    """One experiment: `fault` is how many points the node loses on average, None plants nothing.

    `hidden` is the share of the node's bad answers that its own score does not see. Without `scored` no
    node has a score of its own, only the output has. With `old`, blame has the old version at hand too.
    """

    seed: int
    node: str | None
    fault: float = 0.0
    cases: int = 60
    scored: bool = True
    hidden: float = 0.0
    form: str = "chain5"
    old: bool = False


class Stub:
    """Answers "good", or "bad", or "sly", which is bad but looks good to the node's own score.

    A route takes the case's right branch, or another one, in which nothing is right any more.
    """

    def __init__(self, plan: Plan, version: str) -> None:
        self._plan, self._version = plan, version
        self._form = form_of(plan.form)

    def __call__(self, request: Any, context: Any) -> str:
        text, leaf, given = str(request.messages[-1]["content"]).split("|")
        case = text.partition(".")[0]
        number = int(case.removeprefix("c"))
        ease = Random(f"{self._plan.seed}/{text}/{leaf}").betavariate(RIGHT * 8, (1 - RIGHT) * 8)
        if self._version == "b" and leaf == self._plan.node:
            ease *= 1 - self._plan.fault / RIGHT
        ways = self._form.routes
        fine = all(one in ("good", case) or one in sum(ways.values(), ()) for one in given.split(","))
        healthy = fine and self._form.takes(number, leaf)
        draw = Random(f"{self._plan.seed}/{self._version}/{context.thread_id}/{text}/{leaf}")
        good = draw.random() < (ease if healthy else ON_WRONG_INPUT)
        if leaf in ways:
            right = self._form.right_branch(number, leaf)
            return ways[leaf][right if good else (right + 1) % len(ways[leaf])]
        if good:
            return "good"
        return "sly" if draw.random() < self._plan.hidden else "bad"


def looks_good(answer: str) -> bool:
    return answer in ("good", "sly")


def suite_of(plan: Plan) -> Suite:
    form = form_of(plan.form)
    evaluators = [
        Code(
            name=f"{leaf} is good",
            node=path,
            field=leaf,
            function=looks_good,
            visit="each" if leaf in form.workers else "last",
        )
        for leaf, path in form.paths.items()
        if leaf not in form.routes
    ]
    cases = [Case(f"c{n}", {"text": f"c{n}"}, _expected(form, n, plan.scored)) for n in range(plan.cases)]
    return Suite(
        plan.form, cases, repeats=REPEATS, concurrency=8, evaluators=evaluators if plan.scored else ()
    )


def _expected(form: Form, case: int, scored: bool) -> Expected:
    ways = {
        form.paths[leaf]: labels[form.right_branch(case, leaf)]
        for leaf, labels in form.routes.items()
        if form.takes(case, leaf)
    }
    return Expected(output={form.last: "good"}, has_output=True, route=ways if scored and ways else None)


async def _carry_out(plans: Sequence[Plan], folder: Path) -> list[Blame]:
    """Blame a node in each plan's version B; all have the same version A."""
    suite, graph = suite_of(plans[0]), form_of(plans[0].form).graph
    found = []

    async def ran(plan: Plan, version: str, run: str) -> Results:
        with using(ScriptedModel(Stub(plan, version))):
            return await arun_suite(suite, graph, session, run=run)

    async with Session(folder / "runs.sqlite") as session:
        before = await ran(plans[0], "a", "a")
        for number, plan in enumerate(plans):
            after = await ran(plan, "b", f"b{number}")
            stubs = {version: {"default": ScriptedModel(Stub(plan, version))} for version in "ab"}
            beside = {"old": graph, "old_models": stubs["a"]} if plan.old else {}
            asked = ablame(before, after, suite, graph, session, models=stubs["b"], **beside)
            found.append(await asked)
    return found


def carry_out(*plans: Plan) -> list[Blame]:
    """Run both versions and blame a node; the plans must have their version A in common."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_carry_out(plans, Path(folder)))


def outcome_of(plan: Plan, found: Blame) -> str:
    """Return "right", "wrong" or "undecided"; what is blamed is always confirmed by a graft."""
    if found.verdict != "blamed":
        return "undecided"
    assert any(graft.worse and graft.node == found.node for graft in found.grafts)
    path = plan.node and form_of(plan.form).paths[plan.node]
    return "right" if found.node == path else "wrong"


KINDS: dict[str, dict[str, Any]] = {"scored": {}, "hidden": {"hidden": 0.3}, "unscored": {"scored": False}}


def _row(plan: Plan, found: Blame, calls: int) -> dict[str, Any]:
    return {
        **asdict(plan),
        "outcome": outcome_of(plan, found),
        "verdict": found.verdict,
        "blamed": found.node,
        "among": found.among,
        "why": found.why,
        "suspects": sorted({s.node for s in found.screened if s.suspect}),
        "graft_calls": calls,
    }


def _run(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    blamed = zip(plans, carry_out(*plans), strict=True)
    return [_row(plan, found, found.cost.calls) for plan, found in blamed]


def _draw(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    form = form_of(plans[0].form)
    drawn = [(p, draw_experiment(p, suite_of(p), form, RIGHT, ON_WRONG_INPUT, old=p.old)) for p in plans]
    return [_row(plan, found, calls) for plan, (found, calls) in drawn]


def plans_of(
    form: str, kind: str, fault: float | None, seeds: Sequence[int], *, old: bool = False
) -> Iterator[Plan]:
    """Plant the fault in every node in turn."""
    leaves = form_of(form).leaves
    for seed in seeds:
        node = None if fault is None else leaves[seed % len(leaves)]
        yield Plan(seed, node, fault or 0.0, form=form, old=old, **KINDS[kind])


def campaign(plans: Sequence[Plan], jobs: int, drawn: bool = False) -> Iterator[dict[str, Any]]:
    """Carry out all plans; those of one seed and form share their version A."""
    ordered = sorted(plans, key=lambda plan: (plan.form, plan.scored, plan.hidden, plan.seed))
    same = [list(group) for _, group in groupby(ordered, lambda p: (p.form, p.scored, p.hidden, p.seed))]
    work = _draw if drawn else _run
    if jobs == 1:
        for group in same:
            yield from work(group)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for rows in pool.map(work, same):
            yield from rows


def told(rows: Sequence[dict[str, Any]]) -> str:
    """Return shares with Wilson's intervals."""
    counts = Counter(row["outcome"] for row in rows)
    parts = []
    for name in ("right", "wrong", "undecided"):
        low, high = share_interval(counts[name], len(rows))
        parts.append(
            f"{name} {counts[name]}/{len(rows)} = {counts[name] / len(rows):.0%} [{low:.0%}, {high:.0%}]"
        )
    calls = sum(row["graft_calls"] for row in rows) / len(rows)
    return f"{'; '.join(parts)}; {calls:.0f} calls for grafts"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=20)
    options.add_argument("--first", type=int, default=0, help="the first seed")
    options.add_argument("--faults", type=float, nargs="+", default=[0.2], help="0 plants nothing")
    options.add_argument("--kinds", nargs="+", default=["scored"], choices=list(KINDS))
    options.add_argument("--forms", nargs="+", default=["chain5"], choices=list(FORMS))
    options.add_argument("--drawn", action="store_true", help="draw trials and grafts, run no graph")
    options.add_argument("--old", action="store_true", help="give blame the old version's graph too")
    options.add_argument("--jobs", type=int, default=1)
    options.add_argument("--to", type=Path, help="append every outcome there, as JSON lines")
    given = options.parse_args()
    seeds = range(given.first, given.first + given.seeds)
    good = True
    for form in given.forms:
        for kind in given.kinds:
            plans = [
                p for fault in given.faults for p in plans_of(form, kind, fault or None, seeds, old=given.old)
            ]
            rows = []
            for row in campaign(plans, given.jobs, given.drawn):
                rows.append(row)
                if given.to:
                    with given.to.open("a") as file:
                        file.write(json.dumps({"kind": kind, **row}) + "\n")
            for fault in given.faults:
                own = [row for row in rows if row["fault"] == fault]
                planted = f"{fault:.0%} lost" if fault else "no fault"
                kept = "held out" if form in HELD_OUT else "tuned on"
                print(f"{form:<9} ({kept}) {kind:<9} {planted:<9} {told(own)}", flush=True)
                good &= sum(row["outcome"] == "wrong" for row in own) / len(own) <= 0.05
    if not good:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
