"""Improves the prompt of one step: reflective search on what failed, and a test on cases that it never saw.

The search is GEPA's (Agrawal et al., 2025) for a single prompt. A candidate comes from a Pareto front over
the cases; a model reads a small batch of its failures and proposes another prompt, or joins two; what does
better on that batch is tried on all cases of the search. The best one is tested once, on held-out cases.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from random import Random
from typing import Any, Literal

from ...nodes.steps import Step
from ...state.budget import Budgets, Ledger
from ...state.cost import NOTHING, Cost
from ...state.errors import BudgetExceeded
from ...state.event_loops import in_thread, sync_version
from ...state.names import DRAW_KEY
from ...state.run_context import RunContext, with_ledgers
from ...state.session.session import Session
from ...tracing.record.reads import threads_with_calls, unshared_costs
from ..files.results import Results
from ..running.runner import Runner, begin, new_run
from ..running.trial import SCOPE, TrialSettings, ledgers_of
from ..scoring.judge import CACHE_S
from ..scoring.trial_record import cost_of
from ..statistics.compare import Comparison, case_means, compare, ordered
from ..suite.check import check_suite
from ..suite.model import Case, Suite
from ..suite.targets import Target, target_of
from ..suite.topology import Compiled
from .examples import example_of, is_failure, may_improve, node_was_right
from .plan import ImprovePlan, own_metrics, planned
from .pool import Candidate, Pool, key_of
from .reflection import MOST, Reflection, propose
from .target_step import states_in, step_of
from .template import Part, PromptTemplate, revision, template_of

BATCH = 3
ROUNDS = 12
MERGE_EVERY = 4
MOST_FRUITLESS = 6
RESERVE = 1.3
REFLECTOR = "reflector"

Verdict = Literal["better", "not better", "unfinished"]


@dataclass(frozen=True)
class Improvement:
    """What came of it. `template` is the prompt to take: the new one if it is better, else the old one.

    `tried` is the best prompt that was found, which is the old one if nothing did better in the search.
    `comparison` is that of the two on the held-out cases, None if they were not run.
    """

    plan: ImprovePlan
    verdict: Verdict
    why: str
    old: PromptTemplate
    tried: PromptTemplate
    before: float
    after: float
    candidates: int
    rounds: int
    comparison: Comparison | None
    cost: Cost

    @property
    def template(self) -> PromptTemplate:
        return self.tried if self.verdict == "better" else self.old

    @property
    def complete(self) -> bool:
        return self.verdict != "unfinished"


Announce = Callable[[str], None]


async def aimprove(
    suite: Suite,
    graph: Compiled,
    session: Session,
    node: str,
    *,
    budget: Budgets | None = None,
    metric: str | None = None,
    run: str | None = None,
    folder: Path | None = None,
    model: str = REFLECTOR,
    seed: int = 0,
    held_out: float = 0.5,
    rounds: int = ROUNDS,
    level: float | None = None,
    part: Part | None = None,
    starting: Callable[[ImprovePlan], None] | None = None,
    announce: Announce | None = None,
) -> Improvement:
    """Search for a better prompt of a node's step, and say whether held-out cases find it better.

    The cases are split by the `seed`: the model of the role `model`, which reflects, sees only those of the
    search. `budget` (by default the suite's) bounds all of it; part of it is kept for the test. The same
    `run` goes on where it was, and pays for nothing twice. `metric` is the score to raise: by default the
    node's own, else the first of the whole runs. Nothing is changed in any file of code.

    "better" means that the paired test on the held-out cases says so at `level`, and that no other score got
    worse: where no prompt helps, that happens in at most a share `level` of all searches. Raises
    InputError, before anything is paid, for an unknown node or metric, too few cases, or too small a budget.
    """
    target = target_of(graph, suite.node)
    check_suite(suite, target)
    work = _Search(suite, target, session, node, step_of(target.graph, node))
    work.folder, work.model, work.part, work.announce = folder, model, part, announce or (lambda _: None)
    limits = suite.budget if budget is None else budget
    work.plan = planned(
        suite, target, node, metric, run or new_run(suite), seed, held_out, rounds, level, limits
    )
    work.budgets = limits
    if starting is not None:
        starting(work.plan)
    return await work.carry_out()


improve = sync_version(aimprove)


class _Search:
    plan: ImprovePlan
    budgets: Budgets | None
    folder: Path | None
    model: str
    part: Part | None
    announce: Announce

    def __init__(
        self, suite: Suite, target: Target, session: Session, node: str, step: Step[Any, Any]
    ) -> None:
        self._suite, self._target, self._session = suite, target, session
        self._node, self._step = node, step
        self._cases = {case.id: case for case in suite.cases}
        self._ledgers: Sequence[Ledger] = ()
        self._merged: list[tuple[int, int]] = []
        self._was_cut = False

    @property
    def _prefix(self) -> str:
        return f"eval/{self.plan.run}."

    async def carry_out(self) -> Improvement:
        plan = self.plan
        self._ledgers = ledgers_of(self._session, self.budgets, self._paid)
        base = await self._run(None, plan.searched)
        if not base.complete:
            none = PromptTemplate("system", "", adds=True)
            return self._end(
                "unfinished", "the budget ended before the old prompt had been run", none, Pool(), 0
            )
        self._old = await in_thread(self._template, base)
        self._of = {key_of(self._old.text): base}  # results on the search's cases, by prompt
        pool = Pool([Candidate(self._old.text, self._scores(base, plan.searched))])
        self.announce(
            f"the prompt as it is: {pool.base.mean:.3f} on {len(plan.searched)} cases of the search"
        )
        self._ledgers = await in_thread(self._search_ledgers, base)
        rounds = await self._search(pool)
        tested = self._begun_test()
        winner = next((c for c in pool.candidates if c.key == tested), pool.best)
        if winner is pool.base and self._was_cut:
            why = "the budget ended before anything did better in the search; part of it is kept for the test"
            return self._end("unfinished", why, self._old, pool, rounds)
        if winner is pool.base:
            why = "no new prompt did better on the cases of the search, so the held-out ones were not run"
            return self._end("not better", why, self._old, pool, rounds)
        return await self._test(winner, pool, rounds)

    def _paid(self) -> Cost:
        journal = self._session.journal
        return cost_of(journal, threads_with_calls(journal, self._prefix))

    def _template(self, base: Results) -> PromptTemplate:
        journal = self._session.journal
        states = [s for trial in ordered(base) for s in states_in(journal, trial.thread, self._step)]
        return template_of(self._step, states, self.part)

    def _search_ledgers(self, base: Results) -> Sequence[Ledger]:
        """Return what counts the search: the budget without what the test is going to take."""
        journal = self._session.journal
        trials = list(base.trials.values())
        spent = [cost for trial in trials for _, _, cost in unshared_costs(journal, trial.thread)]
        total = sum(spent, NOTHING)
        times = RESERVE * 2 * len(self.plan.held_out) * self.plan.repeats / max(1, len(trials))
        own = self.plan.budget
        kept = replace(
            own,
            calls=None if own.calls is None else max(0, own.calls - ceil(total.calls * times)),
            tokens=None if own.tokens is None else max(0, own.tokens - ceil(total.tokens * times)),
            usd=None if own.usd is None else max(0.0, own.usd - total.known_usd * times),
        )
        shared = [ledger for ledger in self._ledgers if ledger.is_shared]
        return [*shared, Ledger(kept, self._paid(), scope=SCOPE)]

    # The search

    async def _search(self, pool: Pool) -> int:
        """Add candidates to the pool until rounds, budget or ideas end; return how many rounds there were."""
        fruitless = 0
        for number in range(1, self.plan.rounds + 1):
            if any(c.key == self._begun_test() for c in pool.candidates[1:]):
                return number - 1  # an earlier call of this run has chosen already
            if pool.best.mean >= 1 - 1e-9 or fruitless >= MOST_FRUITLESS:
                return number - 1
            random = Random(f"improve/{self.plan.seed}/{number}")  # noqa: S311
            pair = pool.complementing(self._merged) if number % MERGE_EVERY == 0 else None
            parents = pair or (pool.draw(random),)
            if pair:
                self._merged.append(pair)
            try:
                accepted = await self._attempt(pool, parents, number, random)
            except BudgetExceeded:
                accepted = None
            if accepted is None:
                self._was_cut = True
                self.announce(f"round {number}: the budget of the search has ended")
                return number - 1
            fruitless = 0 if accepted else fruitless + 1
        return self.plan.rounds

    async def _attempt(
        self, pool: Pool, parents: tuple[int, ...], number: int, random: Random
    ) -> bool | None:
        """Try one new prompt: True if the pool has it now, None if the budget ended."""
        chosen = [pool.candidates[parent] for parent in parents]
        batch = self._batch(chosen, random)
        if not batch:
            return False
        reflection = await in_thread(self._reflection, chosen, batch, number)
        config = self._session.config(f"{self._prefix}reflect/{number}")
        text = await propose(
            self.model, reflection, with_ledgers(config, *RunContext.of(config).ledgers, *self._ledgers)
        )
        if text is None or any(candidate.text == text for candidate in pool.candidates):
            self.announce(f"round {number}: no new prompt was proposed")
            return False
        small = await self._run(text, batch)
        if not small.complete:
            return None
        after = sum(self._scores(small, batch).values())
        before = max(sum(candidate.scores[case] for case in batch) for candidate in chosen)
        line = f"round {number}: {before:.2f} -> {after:.2f} on {len(batch)} cases"
        if after <= before + 1e-9:
            self.announce(f"{line}, dropped")
            return False
        whole = await self._run(text, self.plan.searched)
        if not whole.complete:
            return None
        new = Candidate(text, self._scores(whole, self.plan.searched), parents)
        pool.candidates.append(new)
        self._of[new.key] = whole
        self.announce(f"{line}, kept: {new.mean:.3f} on the cases of the search")
        return True

    def _batch(self, chosen: Sequence[Candidate], random: Random) -> list[str]:
        """Return the cases to reflect on: failures of the node, or where two prompts differ."""
        if len(chosen) > 1:
            one, other = chosen
            cases = [case for case in one.scores if one.scores[case] != other.scores[case]]
            return sorted(random.sample(cases, min(2 * BATCH, len(cases))))
        results = self._of[chosen[0].key]
        own_scores = own_metrics(self._suite, self._node)
        bad = list(dict.fromkeys(t.case for t in ordered(results) if is_failure(t, self.plan.metric)))
        own = [case for case in bad if not node_was_right(own_scores, results, case, self.plan.metric)]
        cases = own or bad or [case for case, value in chosen[0].scores.items() if value < 1 - 1e-9]
        return sorted(random.sample(cases, min(BATCH, len(cases))))

    def _reflection(self, chosen: Sequence[Candidate], batch: Sequence[str], number: int) -> Reflection:
        journal, metric = self._session.journal, self.plan.metric
        shown = [
            example_of(journal, self._suite, trial, self._node, self._step, metric)
            for candidate in chosen
            for trial in ordered(self._of[candidate.key])
            if trial.case in batch and (len(chosen) > 1 or may_improve(trial, metric))
        ]
        places = [name for name in self._old.names if f"{{{name}}}" in self._old.text]
        return Reflection([c.text for c in chosen], shown, places, number, self._problem_with)

    def _problem_with(self, text: str) -> str | None:
        if not text.strip():
            return "the prompt is empty."
        if len(text) > MOST:
            return f"the prompt has {len(text)} characters; {MOST} are the most."
        lost = ", ".join(f"{{{name}}}" for name in self._old.missing_in(text))
        return f"the prompt has lost the placeholder {lost}." if lost else None

    # Runs

    async def _run(self, text: str | None, cases: Sequence[str], *, held_out: bool = False) -> Results:
        """Run cases with a prompt, None for the one in the code; what ran before is not run again."""
        key = "base" if text is None else key_of(text)
        name = f"{self.plan.run}.held.{key}" if held_out else f"{self.plan.run}.{key}"
        path = self.folder / f"{name}.jsonl" if self.folder is not None and held_out else None
        suite = self._suite.only(cases)
        results = begin(suite, self._target, name, path, {})
        runner = Runner(
            suite, self._target, self._session, results, ledgers=self._ledgers, settings=self._draw
        )
        with self._revised(text):
            await runner.run_all()
        return results

    def _revised(self, text: str | None) -> AbstractContextManager[None]:
        if text is None:
            return nullcontext()
        return self._step.revising(revision(self._old, self._old.with_text(text)))

    def _draw(self, case: Case, repeat: int) -> TrialSettings:
        """Have equal requests of one trial share an answer under all prompts, and no others."""
        draw = zlib.crc32(f"{self.plan.run}/{case.id}/{repeat}".encode())
        return {"cache_s": CACHE_S, "extra": {DRAW_KEY: (draw,)}}

    def _scores(self, results: Results, cases: Sequence[str]) -> dict[str, float]:
        means = case_means(results, self.plan.metric)
        return {case: means.get(case, 0.0) for case in cases}

    # The test

    def _begun_test(self) -> str | None:
        """Return the prompt that held-out cases were run with before: it alone may be tested in this run."""
        threads = threads_with_calls(self._session.journal, f"{self._prefix}held.")
        keys = {thread.removeprefix(f"{self._prefix}held.").split("/")[0] for thread in threads}
        return next(iter(sorted(keys - {"base"})), None)

    async def _test(self, winner: Candidate, pool: Pool, rounds: int) -> Improvement:
        plan, tried = self.plan, self._old.with_text(winner.text)
        self._ledgers = ledgers_of(self._session, self.budgets, self._paid)
        # The new prompt first: what is chosen stands on record before anything is known of these cases.
        new = await self._run(winner.text, plan.held_out, held_out=True)
        old = await self._run(None, plan.held_out, held_out=True)
        if not (new.complete and old.complete):
            why = "the budget ended in the test on the held-out cases"
            return self._end("unfinished", why, tried, pool, rounds)
        comparison = compare(old, new, plan.level)
        change = comparison.of(plan.metric)
        worse = [d.metric for d in comparison.differences if d.verdict == "worse" and d.metric != plan.metric]
        if change is None:
            verdict, why = "not better", f"{plan.metric} could not be scored on the held-out cases"
        elif change.p >= plan.level or change.change <= 0:
            verdict, why = (
                "not better",
                f"chance explains the change on the held-out cases (p = {change.p:.3g})",
            )
        elif worse:
            verdict, why = "not better", f"{plan.metric} got better, but {', '.join(worse)} got worse"
        else:
            verdict, why = "better", f"p = {change.p:.3g} on cases that no model had seen"
        return self._end(verdict, why, tried, pool, rounds, comparison)

    def _end(
        self,
        verdict: Any,
        why: str,
        tried: PromptTemplate,
        pool: Pool,
        rounds: int,
        comparison: Comparison | None = None,
    ) -> Improvement:
        old = getattr(self, "_old", tried)
        before = pool.base.mean if pool.candidates else 0.0
        after = next((c.mean for c in pool.candidates if c.text == tried.text), before)
        return Improvement(
            plan=self.plan,
            verdict=verdict,
            why=why,
            old=old,
            tried=tried,
            before=before,
            after=after,
            candidates=max(0, len(pool.candidates) - 1),
            rounds=rounds,
            comparison=comparison,
            cost=self._paid(),
        )
