"""The parts of a composition that hold no others: steps, plain nodes, effects, what waits for a person."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.types import interrupt

from stepgraph import Ask, chain, effect, retrieve, review, step, wait

from .model import Question, token
from .states import Level, Mood, Side, Spot, get


@dataclass(frozen=True)
class Place:
    """Where a part stands: its state's level, the lanes that it may write, how deep it is.

    `times` is how often it runs; `hidden` and `vote` are a question's. Effects and persons are kept out where
    parts are called off (`alone` False).
    """

    level: int = 0
    lanes: tuple[int, ...] = (0, 1, 2)
    depth: int = 0
    times: int = 1
    hidden: bool = False
    vote: str = ""
    alone: bool = True

    def inside(self, **changes: Any) -> Place:
        if changes.get("hidden"):
            changes.setdefault("vote", "")
        return replace(self, **{"depth": self.depth + 1, **changes})


class Leaves:
    """Draws the parts that hold no others, and keeps the book of names, questions and effects."""

    def __init__(self, luck: random.Random, levels: Sequence[Level], effects: Path, calls: float) -> None:
        self.luck = luck
        self.levels = levels
        self.effects = effects
        self.questions: dict[str, Question] = {}
        self.verbs: list[str] = []
        self.receipts: dict[str, str] = {}
        self.repeats: dict[str, bool] = {}
        self._numbers = 0
        self._calls = calls

    # Names, and what is drawn

    def _name(self, verb: str) -> str:
        self.verbs.append(verb)
        self._numbers += 1
        return f"{verb}_{self._numbers}"

    def _field(self, place: Place, kind: str) -> str:
        return f"{kind}{self.luck.choice(place.lanes)}"

    def _made(self, function: Any, name: str, place: Place, returns: Any = None, second: Any = None) -> Any:
        """Give a function of the state its name and annotations, as if it had been written by hand."""
        function.__name__ = function.__qualname__ = name
        function.__annotations__ = {"state": self.levels[place.level].state, "return": returns}
        if second is not None:
            function.__annotations__["config"] = second
        return function

    # Leaves

    def _asks(self, place: Place, kind: str, answers: Any, into: str | None = None, **options: Any) -> Any:
        name = self._name(kind)
        level = self.levels[place.level]
        written = into or self._field(place, kind)
        model = options.pop("model", None)
        options.setdefault("hidden", place.hidden)
        options.setdefault("vote", place.vote)
        self._calls -= place.times
        self.questions[name] = Question(name, kind, place.level, written, **options)

        def ask(state: Any) -> Any:
            return Ask(f"{name}: {level.shown(state)}")

        return step(written, model=model)(self._made(ask, name, place, Ask[answers]))

    def text(self, place: Place, **options: Any) -> Any:
        return self._asks(place, "text", str, **options)

    def ask(self, place: Place) -> Any:
        kind = self.luck.choice(("score", "ok", "side"))
        return self._asks(place, kind, {"score": int, "ok": bool, "side": Side}[kind], misfit=kind != "ok")

    def plain(self, place: Place) -> Any:
        name = self._name("plain")
        count = self._field(place, "count")
        level = self.levels[place.level]

        def work(state: Any) -> Any:
            update = {count: get(state, count) + 1, "log": [f"{name} {token(level.shown(state))[1:-1]}"]}
            if place.level == 0:
                update["messages"] = [AIMessage(name, id=f"{name}-{get(state, count)}")]
            return update

        async def awork(state: Any) -> Any:
            await asyncio.sleep(0.001)
            return work(state)

        return self._made(self.luck.choice((work, awork)), name, place)

    def set_rich(self, place: Place) -> Any:
        """Return a node that writes what JSON does not know, if the state has such fields."""
        if "pair0" not in self.levels[place.level].defaults:
            return self.plain(place)
        name = self._name("rich")
        lane = self.luck.choice(place.lanes)

        def work(state: Any) -> Any:
            number = get(state, f"pair{lane}")[1] + 1
            text = get(state, f"text{lane}")
            return {
                f"pair{lane}": (text, number),
                f"tags{lane}": {*get(state, f"tags{lane}"), text, f"tag {number}"},
                f"mood{lane}": Mood.GLAD,
                f"spot{lane}": Spot(text, (number, 2), frozenset({Mood.GLAD, Mood.CALM})),
                f"moods{lane}": {Mood.CALM: number, Mood.GLAD: 2**70},
            }

        return self._made(work, name, place)

    def several(self, place: Place) -> Any:
        """Return a plain node that asks several things, one by one or at once."""
        name = self._name("several")
        drafts = self._field(place, "drafts")
        width = self.luck.randint(2, 4)
        inner = replace(place, times=place.times * width, hidden=True, vote="")
        asked = self.text(inner, into=f"text{drafts[-1]}")
        at_once = self.luck.random() < 0.5
        level = self.levels[place.level]

        async def work(state: Any) -> Any:
            values = {each: get(state, each) for each in level.defaults}
            states = [level.make(**{**values, f"count{drafts[-1]}": 100 + n}) for n in range(width)]
            if at_once:
                return {drafts: await asyncio.gather(*(asked.answer(each) for each in states))}
            return {drafts: [await asked.answer(each) for each in states]}

        return self._made(work, name, place)

    def effect(self, place: Place) -> Any:
        """Return an effect that leaves a line, with its key, where whoever counts can see it."""
        name = self._name("effect")
        file, level = self.effects, self.levels[place.level]
        into = self._field(place, "drafts")
        self.receipts[name] = into

        def happen(state: Any, key: str) -> Any:
            receipt = f"{name} {token(level.shown(state))}"
            with file.open("a") as lines:
                lines.write(f"{receipt} {key}\n")
            return {into: [receipt]}

        function = self._made(happen, name, place)
        self.repeats[name] = self.luck.random() < 0.3
        if self.repeats[name] or self.luck.random() < 0.3:
            own = effect(key=lambda state: token(level.shown(state)), retry=self.repeats[name])
            return own(function)
        return effect(function)

    def review(self, place: Place) -> Any:
        name = self._name("review")
        level = self.levels[place.level]

        def ask(state: Any) -> Any:
            return f"{name}? {token(level.shown(state))}"

        return review(self._field(place, "text"))(self._made(ask, name, place, str))

    def review_in_time(self, place: Place) -> Any:
        """Return a review with a deadline, which is still to come, or past so that nobody is asked."""
        name = self._name("review_in_time")
        level = self.levels[place.level]

        def ask(state: Any) -> Any:
            return f"{name}? {token(level.shown(state))}"

        until = self.luck.choice((timedelta(days=1), datetime(2020, 1, 1, tzinfo=UTC)))
        otherwise = self.luck.choice(("approve", self.text(place), self.text(place)))
        made = review(self._field(place, "text"), deadline=until, otherwise=otherwise)
        return made(self._made(ask, name, place, str))

    def wait(self, place: Place) -> Any:
        until = self.luck.choice((timedelta(days=1), datetime(2020, 1, 1, tzinfo=UTC)))
        waits = wait(until=until, name=self._name("wait"))
        return chain(self.plain(place), waits)  # a wait alone does not say what the state is

    def retrieve(self, place: Place) -> Any:
        name = self._name("retrieve")
        level = self.levels[place.level]

        def query(state: Any) -> Any:
            return f"{name} {token(level.shown(state))[1:-1]}"

        async def find(query: str) -> list[str]:
            await asyncio.sleep(0.001)
            return [f"{query}: {number}" for number in range(3)]

        made = self._made(query, name, place, str)
        return retrieve(self._field(place, "found"), find, k=2)(made)

    def interrupt(self, place: Place) -> Any:
        name = self._name("interrupt")
        drafts = self._field(place, "drafts")
        asked = self.text(replace(place, hidden=True, vote=""), into=f"text{drafts[-1]}")

        async def wait(state: Any) -> Any:
            before = await asked.answer(state)
            return {drafts: [before, interrupt(f"Go on with {before}?")]}

        return self._made(wait, name, place)
