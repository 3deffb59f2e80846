"""A long run of an agent whose model can only use what it is shown; also a campaign with figures.

python -m tests.long_agents
"""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepgraph import Ask, Context, Request, ScriptedModel, Session, ToolCall, agent, run, step, using
from stepgraph.providers.stack.prompt_bound import bound_of

WORDS = "the clerk wrote down what the visitor had said about weather trade and old roads again".split()


@dataclass
class Work:
    text: str
    report: str = ""


@step("report")
def work(state: Work) -> Ask[str]:
    return Ask(state.text, system="Read all rooms, then answer the questions.", max_tokens=1_000)


def check_request(messages: Iterable[Mapping[str, Any]]) -> None:
    """Raise AssertionError for a result without its call, or a call without its result."""
    open_calls: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] in open_calls
            open_calls.remove(message["tool_call_id"])
            continue
        assert not open_calls
        open_calls = [call["id"] for call in message.get("tool_calls") or ()]
    assert not open_calls


@dataclass
class LongRun:
    """`facts` are planted in the question and in early results of tools, and asked for at the end.

    With `compress`, the results have many lines, and the model is shown those that the question needs.
    """

    turns: int
    facts: int
    tokens: int
    compress: bool = False
    most_tokens: int = 0
    answered: int = 0
    left_out: int = 0
    excerpts: int = 0
    asked: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        rng = random.Random(7)
        self.codes = {name: rng.randint(10_000, 99_999) for name in range(self.facts)}
        self.fillers = [" ".join(rng.choices(WORDS, k=rng.randint(50, 350))) for _ in range(self.turns)]
        self.answers: dict[int, int] = {}
        self.tried: dict[int, int] = {}

    def room(self, number: int) -> str:
        """Read what lies in a room."""
        filler = self.fillers[number % len(self.fillers)]
        fact = f" The code of chest {number} is {self.codes[number]}. " if 0 < number < self.facts else " "
        if self.compress:
            lines = [filler[place : place + 60] for place in range(0, len(filler), 60)] * 4
            return "\n".join([*lines, fact.strip(), *lines])
        half = len(filler) // 2
        return filler[:half] + fact + filler[half:]

    def model(self, request: Request, _: Any) -> Any:
        check_request(request.messages)
        self.most_tokens = max(self.most_tokens, bound_of(request) + 1_000)
        seen = str(request.messages)
        self.left_out += "left out" in seen
        self.excerpts += "lines are shown" in seen
        reading = self.turns - self.facts
        self.asked += 1
        if self.asked <= reading:
            return ToolCall("room", {"number": self.asked})
        for name in self.codes:
            if name in self.answers:
                continue
            found = re.search(rf"code of chest {name} is (\d+)", seen)
            if found:
                self.answers[name] = int(found[1])
            elif self.tried.get(name, 0) < 2:
                self.tried[name] = self.tried.get(name, 0) + 1
                return ToolCall("read_earlier", {"search": f"code of chest {name} is"})
        return "done"

    def run(self, folder: Path) -> LongRun:
        def room(number: int) -> str:
            """Read what lies in a room."""
            return self.room(number)

        context = Context(tokens=self.tokens, compress=self.compress)
        chars = 1_000 if self.compress else 10_000
        app = agent(work, tools=[room], turns=self.turns, context=context, max_chars=chars).compile()
        asked = Work(f"The code of chest 0 is {self.codes[0]}.")
        with Session(folder / "runs.sqlite") as session, using(ScriptedModel(self.model)):
            run(app, asked, session, "t")
        self.answered = sum(self.answers.get(name) == code for name, code in self.codes.items())
        return self


if __name__ == "__main__":
    for compress in (False, True):
        with tempfile.TemporaryDirectory() as place:
            done = LongRun(turns=200, facts=40, tokens=32_000, compress=compress).run(Path(place))
            size = sum(file.stat().st_size for file in Path(place).iterdir())
            print(
                f"compress={compress}: {done.asked} calls, {done.answered} of {done.facts} facts, at most "
                f"{done.most_tokens:,} of {done.tokens:,} tokens, {done.left_out} calls with something left "
                f"out, {size / 1e6:.1f} MB"
            )
