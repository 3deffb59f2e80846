"""The graph that the schedulers here hand to workers: `stepgraph worker letter.py:app --db postgresql://…`."""

from dataclasses import dataclass

from stepgraph import Ask, chain, step


@dataclass
class Letter:
    to: str
    outline: str = ""
    text: str = ""


@step("outline", model="writer")
def plan(letter: Letter) -> Ask[str]:
    return Ask(f"Say in one line what a letter to {letter.to} should tell.", max_tokens=50)


@step("text", model="writer")
def write(letter: Letter) -> Ask[str]:
    return Ask(f"Write it in three sentences: {letter.outline}", max_tokens=200)


app = chain(plan, write, name="letter").compile()
