"""Map-reduce: a note on each passage of a long text, and notes on the notes until one is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stepgraph import Ask, ScriptedModel, map_reduce, split_text, step, using


@dataclass
class Passage:
    text: str
    places: list[str]
    note: str = ""


@dataclass
class Book:
    text: str
    digest: Passage | None = None


def cut(book: Book) -> list[Passage]:
    return [Passage(piece.text, [piece.place]) for piece in split_text(book.text, 60, by="headings")]


def together(group: list[Passage]) -> Passage:
    return Passage("\n".join(p.note for p in group), [place for p in group for place in p.places])


@step("note")
def sum_up(passage: Passage) -> Ask[str]:
    return Ask(f"Sum up in one sentence:\n{passage.text}", max_tokens=60)


app = map_reduce(cut, sum_up, join=together, into="digest", tokens=80).compile()


def first_sentences(request: Any, _: Any) -> str:
    """Stand in for a model: the first words of each line."""
    lines = request.messages[-1]["content"].splitlines()[1:]
    return " / ".join(" ".join(line.split()[:6]) for line in lines if line and not line.startswith("#"))


def main() -> None:
    chapters = ["Anna waits for the ferry. " * 4, "The ferry comes late. " * 4, "Anna is home again. " * 4]
    text = "\n\n".join(f"# Chapter {n}\n\n{chapter}" for n, chapter in enumerate(chapters, 1))
    with using(ScriptedModel(first_sentences)):  # or: using("local"), using("openai:gpt-5-mini")
        digest = app.invoke(Book(text))["digest"]
    print(digest.note)
    print("\n".join(digest.places))


if __name__ == "__main__":
    main()
