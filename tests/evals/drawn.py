"""The experiments of `planted.py` without running a graph: trials and grafts are drawn, the rest is blame's.

A run of the real thing takes ten seconds; hundreds of seeds are told this way, and some of them by both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from stepgraph import Session
from stepgraph.evals.diagnosis.blame import ablame
from stepgraph.evals.diagnosis.findings import Blame
from stepgraph.evals.diagnosis.places import Execution, Place, Stage, stages_in
from stepgraph.evals.files.results import Header, Results, Trial
from stepgraph.evals.scoring.trial_record import Route
from stepgraph.evals.suite.model import Case, Score, Suite
from stepgraph.evals.suite.targets import shape_digest

from .planted_graphs import PIECES, Form

Answers = dict[str, list[str]]  # by leaf; "good", "bad", "sly", or the branch that a route took


@dataclass
class World:
    """How a stub answers in a plan; `ease` is drawn once for each case and leaf, in all versions the same."""

    plan: Any
    form: Form
    right: float
    on_wrong_input: float
    _ease: dict[tuple[str, str], float] = field(default_factory=dict)

    def run(self, case: int, version: str, draw: Random, kept: Mapping[str, list[str]]) -> Answers:
        """Draw what a run answers; what is kept was answered before."""
        found: Answers = {}
        for leaf in self.form.leaves:
            way = self.form.branch_of[leaf]
            if all(found.get(d, [""])[0] == self.form.routes[d][n] for d, n in way):
                if leaf in kept:
                    found[leaf] = list(kept[leaf])
                else:
                    times = PIECES if leaf in self.form.workers else 1
                    found[leaf] = [self.answer(case, leaf, n, version, found, draw) for n in range(times)]
        return found

    def answer(
        self, case: int, leaf: str, part: int, version: str, given: Mapping[str, list[str]], draw: Random
    ) -> str:
        ways = self.form.routes
        inputs = [
            text for before in self.form.before[leaf] if before not in ways for text in given.get(before, ())
        ]
        healthy = self.form.takes(case, leaf) and all(text == "good" for text in inputs)
        good = draw.random() < (
            self._ease_of(f"c{case}.{part}", leaf, version) if healthy else self.on_wrong_input
        )
        if leaf in ways:
            right = self.form.right_branch(case, leaf)
            return ways[leaf][right if good else (right + 1) % len(ways[leaf])]
        return "good" if good else "sly" if draw.random() < self.plan.hidden else "bad"

    def _ease_of(self, text: str, leaf: str, version: str) -> float:
        if (text, leaf) not in self._ease:
            draw = Random(f"{self.plan.seed}/{text}/{leaf}")
            self._ease[text, leaf] = draw.betavariate(self.right * 8, (1 - self.right) * 8)
        lost = self.plan.fault / self.right if version == "b" and leaf == self.plan.node else 0.0
        return self._ease[text, leaf] * (1 - lost)

    def score(self, case: int, leaf: str, answers: Sequence[str]) -> Score:
        if leaf in self.form.routes:
            return Score.of(answers[0] == self.form.routes[leaf][self.form.right_branch(case, leaf)])
        seen = [float(answer in ("good", "sly")) for answer in answers]
        return Score(fmean(seen), all(seen))

    def metric(self, leaf: str) -> str:
        return f"route:{self.form.paths[leaf]}" if leaf in self.form.routes else f"{leaf} is good"

    def trial(self, case: Case, repeat: int, answers: Answers, version: str) -> Trial:
        number = int(case.id.removeprefix("c"))
        scores = {"completed": Score.of(True), "output": Score.of(self.output(answers))}
        if self.plan.scored:
            for leaf, own in answers.items():
                if leaf not in self.form.routes or self.form.takes(number, leaf):
                    scores[self.metric(leaf)] = self.score(number, leaf, own)
        path = [
            "/".join(parts[: n + 1])
            for leaf in answers
            for parts in [self.form.paths[leaf].split("/")]
            for n in range(len(parts))
        ]
        routes = [
            Route(self.form.paths[leaf], answers[leaf][0]) for leaf in answers if leaf in self.form.routes
        ]
        thread = f"{version}/{case.id}/{repeat}"
        return Trial(
            case.id,
            repeat,
            thread,
            "done",
            scores=scores,
            expected_routes=case.expect.branches,
            path=tuple(dict.fromkeys(path)),
            routes=tuple(routes),
        )

    def output(self, answers: Answers) -> bool:
        return answers[self.form.last] == ["good"]


@dataclass
class DrawnGrafting:
    """Stands in for `Grafting`: draws what a version's nodes would do on the other one's states."""

    world: World
    version: str
    before: Mapping[tuple[str, int], Answers]
    draw: Random
    runs: int = 0
    ended: bool = False
    session: Any = None
    left_out: dict[str, str] = field(default_factory=dict)

    async def node_alone(
        self, node: str, metric: str, trials: Sequence[Trial], number: int
    ) -> dict[tuple[str, int], float]:
        leaf = next(leaf for leaf, path in self.world.form.paths.items() if path == node)
        found = {}
        for trial in trials:
            case, given = int(trial.case.removeprefix("c")), self.before[trial.key]
            times = range(len(given[leaf]))
            own = [self.world.answer(case, leaf, n, self.version, given, self.draw) for n in times]
            self.runs += len(own)
            value = self.world.score(case, leaf, own).value
            found[trial.key] = 0.0 if value is None else value
        return found

    async def from_places(
        self, points: Sequence[tuple[Trial, Place]], metric: str, number: int
    ) -> dict[tuple[tuple[str, int], str], float]:
        found = {}
        for trial, place in points:
            anew = {leaf for leaf, path in self.world.form.paths.items() if path in place.anew}
            kept = {leaf: own for leaf, own in self.before[trial.key].items() if leaf not in anew}
            case = int(trial.case.removeprefix("c"))
            ended = self.world.run(case, self.version, self.draw, kept)
            self.runs += len(ended) - len(kept)
            found[trial.key, place.key] = float(self.world.output(ended))
        return found


def stages_of(form: Form, answers: Answers) -> list[Stage]:
    depth: dict[str, int] = {}
    for leaf in answers:
        depth[leaf] = 1 + max((depth.get(before, 0) for before in _sources(form, leaf)), default=0)
    return stages_in([Execution(form.paths[leaf], f"{leaf}:{leaf}", depth[leaf]) for leaf in answers])


def _sources(form: Form, leaf: str) -> list[str]:
    return [*form.before[leaf], *(decider for decider, _ in form.branch_of[leaf])]


def draw_experiment(
    plan: Any, suite: Suite, form: Form, right: float, on_wrong_input: float, *, old: bool = False
) -> tuple[Blame, int]:
    """Draw both versions' trials, and blame a node; return with it how many nodes ran in grafts.

    With `old`, the old version's nodes run on the new one's states too. Nothing is put back.
    """
    world = World(plan, form, right, on_wrong_input)
    answers: dict[str, dict[tuple[str, int], Answers]] = {"a": {}, "b": {}}
    results = {}
    for version in "ab":
        found = results[version] = Results(None, Header.of(suite, version, {}, shape_digest(form.graph)))
        for case, repeat in suite.trials:
            draw = Random(f"{plan.seed}/{version}/{case.id}/{repeat}")
            ran = world.run(int(case.id.removeprefix("c")), version, draw, {})
            answers[version][case.id, repeat] = ran
            found.add(world.trial(case, repeat, ran, version))
    drawn = {
        "graft": DrawnGrafting(world, "b", answers["a"], Random(f"{plan.seed}/grafts")),
        "old": DrawnGrafting(world, "a", answers["b"], Random(f"{plan.seed}/old")),
    }

    def places_of(session: Any, thread: str) -> list[Stage]:
        version, case, repeat = thread.split("/")
        return stages_of(form, answers[version][case, int(repeat)])

    async def blamed() -> Blame:
        with TemporaryDirectory() as folder:
            async with Session(Path(folder) / "runs.sqlite") as session:
                beside = form.graph if old else None
                return await ablame(results["a"], results["b"], suite, form.graph, session, old=beside)

    diagnosis = "stepgraph.evals.diagnosis"
    with (
        patch(f"{diagnosis}.blame.Grafting", lambda *given, **named: drawn[named["kind"]]),
        patch(f"{diagnosis}.blame.with_old_node", lambda *given: None),
        patch(f"{diagnosis}.onward.places_of", places_of),
    ):
        return asyncio.run(blamed()), sum(grafting.runs for grafting in drawn.values())
