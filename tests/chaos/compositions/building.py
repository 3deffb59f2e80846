"""A random workflow of all patterns: one seed gives one graph, in whatever process it is built."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from pydantic_core import to_jsonable_python

from stepgraph import (
    Budget,
    PlanRules,
    agent,
    attempt,
    cascade,
    chain,
    end,
    ensemble,
    fan_out,
    gate,
    guard,
    map_reduce,
    orchestrate,
    refine,
    route,
    rule,
    section,
    verify,
    vote,
    within,
)

from .leaves import Leaves, Place
from .model import token
from .states import FAMILIES, KINDS, Side, get

DEPTH = 4
CALLS = 40


class Composition(Leaves):
    """A workflow of a seed. `tight` gives the parts with a budget of their own too little of it."""

    def __init__(self, seed: int, effects: Path, rich: bool = True, tight: bool = False) -> None:
        luck = random.Random(seed)
        levels = FAMILIES[luck.choice(KINDS), rich and luck.random() < 0.75]
        super().__init__(luck, levels, effects, CALLS * luck.choice((0.5, 1, 1, 2)))
        self.seed = seed
        self.tight = tight
        place = Place()
        parts = [self.part(place) for _ in range(luck.randint(1, 3))]
        self.workflow = chain(*parts, self.text(place), name=f"composition_{seed}")
        self.app = self.workflow.compile()

    def given(self) -> Any:
        return self.levels[0].make(text0=f"seed {self.seed}")

    def part(self, place: Place) -> Any:
        """Return a part of any kind."""
        leaves = [
            self.text, self.text, self.ask, self.plain, self.several, self.several, self.set_rich,
            self.retrieve,
        ]  # fmt: skip
        if place.alone:
            leaves += [self.effect, self.review, self.interrupt, self.review_in_time, self.wait]
        inner = [
            self.chain, self.route, self.refine, self.refine_counting, self.vote_on_side, self.vote_on_text,
            self.ensemble, self.guard, self.gate, self.gate_counting, self.cascade, self.cascade_checked,
            self.verify, self.agent, self.within, self.compiled, self.by_hand,
            self.attempt, self.attempt_failed, self.end_early, self.route_by_vote, self.gate_by_chain,
            self.guard_by_vote, self.refine_by_chain, self.fan_out_by_chain,
        ]  # fmt: skip
        if place.level < 2:
            inner += [self.fan_out, self.fan_out, self.map_reduce, self.orchestrate]
        if len(place.lanes) > 1:
            inner += [self.section, self.section]
        deep = place.depth >= DEPTH or self._calls < place.times
        return self.luck.choice(leaves if deep or self.luck.random() < 0.15 else inner)(place)

    def chain(self, place: Place) -> Any:
        return chain(
            *(self.part(place.inside()) for _ in range(self.luck.randint(2, 3))), name=self._name("chain")
        )

    def _branches(self, place: Place) -> Any:
        return {side: self.part(place.inside()) for side in ("left", "right")}

    def route(self, place: Place) -> Any:
        side = self._asks(place, "side", Side, misfit=self.luck.random() < 0.3)
        fallback = self.text(place)
        return route(side, self._branches(place), fallback=fallback, name=self._name("route"))

    def refine(self, place: Place) -> Any:
        """Return a loop that keeps the best round: what the others wrote is given up."""
        rounds = self.luck.randint(2, 3)
        inner = place.inside(times=place.times * rounds, hidden=True)
        produce = chain(self.part(inner), self.text(inner))
        judge = self._asks(inner, "score", int)
        return refine(
            produce, judge, until=lambda score: score >= 7, rounds=rounds, name=self._name("refine")
        )

    def _counting(self, place: Place) -> tuple[Any, Any]:
        """Return a part that counts its runs, and a rule that gives the count."""
        count = f"count{place.lanes[0]}"

        def tick(state: Any) -> Any:
            return {count: get(state, count) + 1}

        def judge(state: Any) -> Any:
            return get(state, count)

        counted = chain(self.text(place), self._made(tick, self._name("tick"), place))
        return counted, rule(f"score{place.lanes[0]}")(self._made(judge, self._name("judge"), place, int))

    def refine_counting(self, place: Place) -> Any:
        """Return a loop in which each round is the best."""
        rounds = self.luck.randint(2, 4)
        produce, judge = self._counting(place.inside(times=place.times * rounds))
        return refine(
            produce, judge, until=lambda score: score >= 99, rounds=rounds, name=self._name("refine")
        )

    def section(self, place: Place) -> Any:
        lanes = list(place.lanes)
        self.luck.shuffle(lanes)
        branches = {f"lane{lane}": self.part(place.inside(lanes=(lane,))) for lane in sorted(lanes)}
        merge = self.text(place) if self.luck.random() < 0.5 else None
        return section(branches, merge=merge, name=self._name("section"))

    def _split(self, place: Place, width: int) -> Any:
        level, below = self.levels[place.level], self.levels[place.level + 1]
        name = self._name("split")

        def split(state: Any) -> Any:
            return [below.make(text0=f"{name} {n} {token(level.shown(state))[1:-1]}") for n in range(width)]

        return self._made(split, name, place, list[below.state])

    def _worker(self, place: Place, width: int) -> Any:
        return self.part(self._below(place, width))

    def _below(self, place: Place, width: int) -> Place:
        return place.inside(level=place.level + 1, lanes=(0, 1), times=place.times * width)

    def fan_out(self, place: Place) -> Any:
        width = self.luck.choice((2, 3, 4, 12))
        into = self._field(place, "items")
        worker = self._worker(place, width)
        return fan_out(self._split(place, width), worker, into=into, name=self._name("fan_out"))

    def map_reduce(self, place: Place) -> Any:
        width = self.luck.choice((2, 3, 5))
        below = self.levels[place.level + 1]
        worker = self.text(self._below(place, width), into="text0")
        reduce = self.text(self._below(place, width), into="text0")

        def join(items: Any) -> Any:
            return below.make(text0="|".join(get(item, "text0") for item in items))

        lane = self.luck.choice(place.lanes)
        return map_reduce(
            self._split(place, width),
            worker,
            reduce=reduce,
            join=join,
            into=f"digest{lane}",
            parts=f"items{lane}" if self.luck.random() < 0.5 else None,
            tokens=2,
            count=lambda text: text.count("|"),
            name=self._name("map_reduce"),
        )

    def orchestrate(self, place: Place) -> Any:
        width = self.luck.choice((2, 3, 4))
        below = self.levels[place.level + 1]

        def pieces(mark: str) -> Any:
            return to_jsonable_python([below.make(text0=f"{n} {mark}", count0=n) for n in range(width)])

        lane = self.luck.choice(place.lanes)
        plan = self._asks(place, "plan", list[below.state], into=f"plan{lane}", pieces=pieces)
        return orchestrate(
            plan,
            self._worker(place, width),
            self.text(place),
            into=f"items{lane}",
            rules=PlanRules(subject=lambda piece: f"subject{get(piece, 'count0')}"),
            name=self._name("orchestrate"),
        )

    def vote_on_side(self, place: Place) -> Any:
        """Return a vote whose draws differ: voters that come late may be called off."""
        voters = self.luck.choice((1, 1, 2))
        draws = self.luck.randint(2, 4)
        inner = place.inside(times=place.times * draws)
        into = self._field(place, "side")
        parts = [self._asks(inner, "side", Side, into=into) for _ in range(voters)]
        return vote(parts, draws, uncertain="none", name=self._name("vote"))

    def vote_on_text(self, place: Place) -> Any:
        """Return a vote whose draws mostly write the same: it gives up all but the first winner's."""
        draws = self.luck.randint(2, 3)
        name = self._name("vote")
        half = "" if place.hidden else name
        inner = place.inside(times=place.times * draws, alone=False, hidden=True, vote=half)
        into = f"text{place.lanes[0]}"
        voter = chain(self.part(inner), self.text(inner, into=into), name=self._name("voter"))
        needed = draws if self.luck.random() < 0.5 else None
        return vote(voter, draws, field=into, needed=needed, uncertain="", name=name)

    def ensemble(self, place: Place) -> Any:
        into = f"text{place.lanes[0]}"
        drafts = f"drafts{place.lanes[0]}" if self.luck.random() < 0.6 else None
        inner = place.inside(hidden=place.hidden or drafts is None, alone=False)
        count = self.luck.randint(2, 3)
        candidates = [
            self.text(inner, into=into)
            if self.luck.random() < 0.4
            else chain(self.part(inner), self.text(inner, into=into), name=self._name("candidate"))
            for _ in range(count)
        ]
        if drafts is not None:
            merge = self.text(place, into=into)
            return ensemble(candidates, merge=merge, into=drafts, field=into, name=self._name("ensemble"))
        return ensemble(candidates, score=_weight, field=into, name=self._name("ensemble"))

    def guard(self, place: Place) -> Any:
        check = self._asks(place, "ok", bool, yes=self.luck.random() < 0.7)
        main = self.part(place.inside(hidden=True, alone=False))
        otherwise = self.text(place)
        return guard(main, check, bool, otherwise=otherwise, name=self._name("guard"))

    def gate(self, place: Place) -> Any:
        inner = place.inside(times=place.times * 2)
        check = self._asks(inner, "score", int)
        repair = self.text(inner) if self.luck.random() < 0.5 else self.part(inner)
        self._name("gate")
        return gate(check, lambda score: score >= 4, repair=repair, otherwise=self.part(place.inside()))

    def gate_counting(self, place: Place) -> Any:
        repair, _ = self._counting(place.inside(times=place.times * 2))
        count = f"count{place.lanes[0]}"
        name = self._name("gate")

        def check(state: Any) -> Any:
            return get(state, count) % 3 == 0 or "it is not three times as much"

        return gate(self._made(check, name, place), repair=repair, tries=3)

    def attempt(self, place: Place) -> Any:
        return attempt(self.part(place.inside()), otherwise=self.text(place), name=self._name("attempt"))

    def attempt_failed(self, place: Place) -> Any:
        """Return an attempt whose part fails: what it wrote is given up, and what it asked is paid once."""
        inner = place.inside(hidden=True)
        name = self._name("attempt")

        def never(state: Any) -> Any:
            return f"{name} is not good enough"

        work = chain(self.part(inner), gate(self._made(never, f"never_{name}", place)), name=f"work_{name}")
        return attempt(work, otherwise=self.part(place.inside()), name=name)

    def end_early(self, place: Place) -> Any:
        """Return a chain that ends the run, one time in three."""
        level, name = self.levels[place.level], self._name("end")

        def go_on(state: Any) -> Any:
            return int(token(name + level.shown(state))[1:-1], 16) % 3 > 0

        ending = end("enough") if self.luck.random() < 0.5 else chain(self.text(place), end())
        gated = gate(self._made(go_on, name, place), otherwise=ending)
        return chain(self.part(place.inside()), gated, self.part(place.inside()), name=f"chain_{name}")

    def route_by_vote(self, place: Place) -> Any:
        side = self.vote_on_side(place)
        return route(side, self._branches(place), fallback=self.text(place), name=self._name("route"))

    def gate_by_chain(self, place: Place) -> Any:
        inner = place.inside(times=place.times * 2)
        check = chain(self.part(inner), self._asks(inner, "score", int), name=self._name("check"))
        repair = self.text(inner) if self.luck.random() < 0.5 else None
        otherwise = self.text(place)
        name = self._name("gate")
        return gate(check, lambda score: score >= 5, repair=repair, otherwise=otherwise, name=name)

    def guard_by_vote(self, place: Place) -> Any:
        draws = self.luck.randint(1, 3)
        check = self._asks(place.inside(times=place.times * draws), "ok", bool, yes=self.luck.random() < 0.7)
        safe = vote(check, draws, uncertain=False, name=self._name("vote"))
        main = self.part(place.inside(hidden=True, alone=False))
        return guard(main, safe, bool, otherwise=self.text(place), name=self._name("guard"))

    def refine_by_chain(self, place: Place) -> Any:
        rounds = self.luck.randint(2, 3)
        inner = place.inside(times=place.times * rounds, hidden=True)
        judge = chain(self.part(inner), self._asks(inner, "score", int), name=self._name("judge"))
        produce, name = self.text(inner), self._name("refine")
        return refine(produce, judge, until=lambda score: score >= 7, rounds=rounds, name=name)

    def fan_out_by_chain(self, place: Place) -> Any:
        if place.level == 2:
            return self.chain(place)
        width = self.luck.choice((2, 3))
        below = self.levels[place.level + 1]

        def pieces(mark: str) -> Any:
            return to_jsonable_python([below.make(text0=f"{n} {mark}", count0=n) for n in range(width)])

        plan = self._asks(place, "plan", list[below.state], into=self._field(place, "plan"), pieces=pieces)
        split = chain(self.part(place.inside()), plan, name=self._name("split"))
        into = self._field(place, "items")
        return fan_out(split, self._worker(place, width), into=into, name=self._name("fan_out"))

    def cascade(self, place: Place) -> Any:
        rung = self.text(place)
        return cascade(rung, rung.on("large"), accept=_accept, name=self._name("cascade"))

    def cascade_checked(self, place: Place) -> Any:
        check = self._asks(place, "score", int)
        rungs = [self.part(place.inside()) for _ in range(2)]
        return cascade(*rungs, check=check, accept=lambda score: score >= 5, name=self._name("cascade"))

    def verify(self, place: Place) -> Any:
        check = self._asks(place, "score", int, model="judge")
        return verify(
            self.text(place),
            check,
            agrees=lambda score: score >= 5,
            tries=self.luck.randint(0, 2),
            otherwise=self.part(place.inside()),
            name=self._name("verify"),
        )

    def agent(self, place: Place) -> Any:
        tools = self.luck.randint(1, 3)
        question = self.text(place, tools=tools)
        helper = self.text(replace(place, hidden=True, vote="", times=place.times * tools))
        level = self.levels[place.level]

        async def find(query: str, config: RunnableConfig) -> str:
            """Find something."""
            return str(await helper.answer(level.make(text0=query), config))

        async def look(query: str) -> str:
            return f"found {query}"

        tool: Callable[..., Any] = find
        if self.luck.random() < 0.5:
            tool = look
            tool.__name__, tool.__doc__ = "find", "Find something."
        return agent(question, tools=[tool], name=self._name("agent"))

    def within(self, place: Place) -> Any:
        budget = Budget(calls=1 if self.tight else 10_000)
        return within(self.part(place.inside()), budget, name=self._name("within"))

    def compiled(self, place: Place) -> Any:
        inner = chain(self.part(place.inside()), self.part(place.inside()), name=self._name("compiled"))
        return chain(self.plain(place), inner.compile())

    def by_hand(self, place: Place) -> Any:
        """Return a hand-written LangGraph graph, with parts side by side where there are lanes for them."""
        graph: Any = StateGraph(self.levels[place.level].state)
        first, last = self.plain(place), self.text(place)
        graph.add_node("first", first)
        graph.add_node("last", last)
        graph.add_edge(START, "first")
        for lane in place.lanes:
            graph.add_node(f"lane{lane}", self.text(place.inside(lanes=(lane,))))
            graph.add_edge("first", f"lane{lane}")
        graph.add_edge([f"lane{lane}" for lane in place.lanes], "last")
        graph.add_edge("last", END)
        return chain(self.plain(place), graph.compile(name=self._name("by_hand")))


def _weight(text: str) -> float:
    return float(int(token(text)[1:-1], 16))


def _accept(text: str) -> bool:
    return _weight(text) % 2 == 0
