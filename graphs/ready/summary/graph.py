"""The summary of a long document: every passage on its own, then the notes on them, level by level.

    split at headings ─► note on each passage, all at once ─► combine neighbouring notes ⟲ ─► summary

A note knows which passages it stands for, so the summary comes with the places that it covers, and
each passage's own note is there to check it against. The model never sees more than TOKENS at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ....nodes.ask import Ask
from ....nodes.splitting import split_text
from ....nodes.steps import step
from ....state.errors import InputError
from ....state.plain_files import read_plain_text
from ...patterns.chain import chain
from ...patterns.map_reduce import map_reduce
from ...patterns.route import route
from ..few_shot import few_shot

# Of a prompt, as estimated; with an answer of MAX_ANSWER it fits a context window of 2048 tokens.
TOKENS = 1200
PASSAGE_TOKENS = 800
MAX_ANSWER = 110
SHORT_WORDS = 30
MAX_BYTES = 5_000_000
CITATION = re.compile(r"\s*\[(\d+)(?:\s*-\s*(\d+))?\]")


@dataclass
class SummaryPassage:
    """A part of the document: its text, where it stands, and a note on it.

    A passage that stands for several has their notes as its text, and all their numbers.
    """

    text: str
    numbers: list[int]
    places: list[str]
    note: str = ""

    @property
    def label(self) -> str:
        first, last = self.numbers[0], self.numbers[-1]
        return f"[{first}]" if first == last else f"[{first}-{last}]"


@dataclass
class LongDocument:
    """A text, or a file that holds one, and what becomes of it."""

    file: str = ""
    text: str = ""
    passages: list[SummaryPassage] = field(default_factory=list)
    digest: SummaryPassage | None = None
    summary: str = ""
    sources: list[str] = field(default_factory=list)


def cut(document: LongDocument) -> list[SummaryPassage]:
    """Split the document at its headings into passages that fit the model."""
    pieces = split_text(_text_of(document), PASSAGE_TOKENS, by="headings")
    return [SummaryPassage(piece.text, [piece.number], [piece.place]) for piece in pieces]


def _text_of(document: LongDocument) -> str:
    if bool(document.file) == bool(document.text):
        raise InputError("Give either a file or a text: -i file=book.txt")
    if document.text:
        return document.text
    path = Path(document.file)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} has more than {MAX_BYTES // 1_000_000} MB. Give a part of it.")
        return read_plain_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text: {error}") from None


def length(passage: SummaryPassage) -> Literal["short", "long"]:
    return "short" if len(passage.text.split()) <= SHORT_WORDS else "long"


def keep(passage: SummaryPassage) -> dict[str, str]:
    """Take a passage that is no longer than a note as its own note."""
    return {"note": " ".join(passage.text.split())}


SHOWN = (
    "The ferry was due at nine, but at ten there was still nothing to be seen on the lake. Anna sat on her "
    "suitcase and counted gulls. `It will not come today,' said the old man from the kiosk, and gave her a "
    "cup of tea. At noon they saw smoke behind the island, and both of them ran down to the pier."
)
SHOWN_NOTE = (
    "Anna waits for a ferry that is late, and an old man gives her tea. At noon they see its smoke and run "
    "to the pier."
)


@step("note", model="small")
def take_note(passage: SummaryPassage) -> Ask[str]:
    return Ask(
        few_shot([(_question(SHOWN), SHOWN_NOTE)], _question(passage.text)),
        system="You summarise texts. You tell only what the text says: who does what, and what happens.",
        temperature=0,
        max_tokens=MAX_ANSWER,
    )


def _question(text: str) -> str:
    return f"Summarise in two sentences:\n{text}"


def tidy(passage: SummaryPassage) -> dict[str, str]:
    """Take out what a note says twice, and a last sentence that was cut off."""
    sentences = list(dict.fromkeys(re.split(r"(?<=[.!?])\s+", " ".join(passage.note.split()))))
    whole = sentences if re.search(r"[.!?\]'\"]$", sentences[-1]) else sentences[:-1]
    return {"note": " ".join(whole or sentences)}


def together(group: list[SummaryPassage]) -> SummaryPassage:
    """Make one passage of the notes on several, in their order."""
    return SummaryPassage(
        "\n".join(f"{passage.label} {passage.note}" for passage in group),
        [number for passage in group for number in passage.numbers],
        [place for passage in group for place in passage.places],
    )


@step("note", model="large")
def combine(passage: SummaryPassage) -> Ask[str]:
    return Ask(
        f"Notes on the parts of a text, in order:\n{passage.text}\n\nSummarise what happens, from the first "
        "note to the last, in at most four sentences. Name the notes that a sentence is taken from, such "
        "as [2].",
        system="You summarise texts. You tell only what the notes say.",
        temperature=0,
        max_tokens=MAX_ANSWER,
    )


def cite(document: LongDocument) -> dict[str, object]:
    """List the places; a citation of a passage that does not exist is taken out."""
    digest = document.digest
    if digest is None:
        return {}
    known = set(digest.numbers)

    def checked(citation: re.Match[str]) -> str:
        ends = {int(number) for number in citation.groups() if number}
        return citation.group() if ends <= known else ""

    pairs = zip(digest.numbers, digest.places, strict=True)
    return {
        "summary": CITATION.sub(checked, digest.note).strip(),
        "sources": [f"[{number}] {place}" for number, place in pairs],
    }


note = route(length, {"short": keep, "long": chain(take_note, tidy)}, name="note")
notes = map_reduce(
    cut, note, reduce=chain(combine, tidy), join=together, into="digest", parts="passages", tokens=TOKENS
)
graph = chain(notes, cite, name="summary")
