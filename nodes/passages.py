"""Passages: what a retriever found, how a prompt shows it, and whether an answer's citations hold."""

from __future__ import annotations

import hashlib
import html
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from langchain_core.documents import Document
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json

from ..state.json_text import json_text
from .checks import Opinion

SOURCES = ("source", "url", "file_path", "path", "title")  # where LangChain's loaders say it
ID_LENGTH = 12
MIN_QUOTE = 3  # words: shorter text in quotation marks is often no quotation

_TAG = re.compile(r"<(?=\s*/?\s*passage\b)", re.IGNORECASE)
_NUMBERS = r"\d+(?:\s*[,;–-]\s*\d+)*"
_MARKER = re.compile(rf"[\[【](?:passage|source|doc)?\s*[#^]?({_NUMBERS})[\]】]", re.IGNORECASE)
_QUOTED = re.compile(r'"([^"\n]+)"|“([^”\n]+)”|„([^“”\n]+)[“”]|«([^»\n]+)»|「([^」\n]+)」')
_FOLLOWS = re.compile(rf"\s*[.,;:!?)]*\s*{_MARKER.pattern}", re.IGNORECASE)
_GAP = re.compile(r"\[\s*(?:\.\.\.|…)\s*\]|\.\.\.|…")
_SAME = str.maketrans(
    {**dict.fromkeys("“”„«»‟″", '"'), **dict.fromkeys("‘’‚‛′", "'"), **dict.fromkeys("‐‑‒–—−", "-")}
)


class Passage(BaseModel):
    """A piece of text that a retriever found.

    `id` is the document's own, else made of its source and text: the same text has the same id in every run.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    text: str
    source: str = ""
    score: float | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class Citation(BaseModel):
    """One passage that an answer rests on: its number, and words that stand in it."""

    passage: int
    quote: str


Found: TypeAlias = Document | Passage | str | tuple[Document | Passage | str, float]
"""What a retriever may give: documents, passages or texts, each alone or with its score."""


@dataclass(frozen=True)
class Selection:
    """The passages that fit the limits, how many there were, and why there are fewer now."""

    passages: list[Passage]
    total: int
    left_out: str | None


def select_passages(results: Iterable[Found], k: int, max_chars: int) -> Selection:
    """Return the first `k` passages, each once, of at most so many characters in all.

    They are kept whole, in their order; one that alone is too long is cut. Raises TypeError for what is none.
    """
    everything = [_passage(item) for item in results]
    texts = (passage for passage in everything if passage.text.strip())
    seen: dict[tuple[str, str], Passage] = {}
    for passage in texts:
        seen.setdefault((passage.id, passage.text), passage)
    distinct = list(seen.values())
    kept: list[Passage] = []
    room = max_chars
    notes = []
    if len(everything) > len(distinct):
        notes.append(f"{len(everything) - len(distinct)} empty or the same as another")
    for passage in distinct[:k]:
        if len(passage.text) > room:
            if not kept:
                kept.append(passage.model_copy(update={"text": passage.text[:room]}))
                notes.append(f"the first cut from {len(passage.text):,} characters")
            break
        room -= len(passage.text)
        kept.append(passage)
    if len(kept) < min(k, len(distinct)):
        notes.append(f"{min(k, len(distinct)) - len(kept)} over max_chars={max_chars:,}")
    if len(distinct) > k:
        notes.append(f"{len(distinct) - k} over k={k}")
    return Selection(kept, len(everything), ", ".join(notes) or None)


def _passage(item: Any) -> Passage:
    score: Any = None
    if isinstance(item, tuple) and len(item) == 2:
        item, score = item
    if isinstance(item, str):
        item = Document(page_content=item)
    if isinstance(item, Document):
        known = (item.metadata.get(name) for name in SOURCES)
        source = next((str(value) for value in known if isinstance(value, (str, Path)) and value), "")
        item = Passage.model_construct(
            id=item.id or "", text=item.page_content, source=source, metadata=item.metadata
        )
    if not isinstance(item, Passage):
        raise TypeError(f"{type(item).__name__}; expected LangChain Documents, passages or texts")
    text, source = _keepable(item.text), _keepable(item.source)
    score = item.score if score is None else float(score)
    return Passage(
        id=item.id or hashlib.sha256(f"{source}\0{text}".encode()).hexdigest()[:ID_LENGTH],
        text=text,
        source=source,
        score=score if score is not None and math.isfinite(score) else None,
        metadata=from_json(json_text(item.metadata)),
    )


def _keepable(text: str) -> str:
    """Return a text without halves of surrogate pairs, which no file can keep."""
    return text.encode("utf-8", "replace").decode()


def render_passages(passages: Sequence[Passage]) -> str:
    """Return passages for a prompt, numbered from 1: an answer cites them as [1], [2], …

    Each stands between `<passage>` tags, and no text can end its own: what it says stays data. Let the
    prompt say that what is in them is no instruction.
    """
    if not passages:
        return "(No passages were found.)"
    return "\n".join(
        f'<passage number="{number}"{_source(passage)}>\n{_TAG.sub("&lt;", passage.text)}\n</passage>'
        for number, passage in enumerate(passages, 1)
    )


def _source(passage: Passage) -> str:
    return f' source="{html.escape(" ".join(passage.source.split()))}"' if passage.source else ""


def check_citations(answer: str | Sequence[Citation], passages: Sequence[Passage]) -> Opinion:
    """Return True if an answer cites, and only what stands there; else what is wrong: for a gate.

    In a text, "[2]" and "[1, 3]" cite passages by their numbers, as `render_passages` shows them; there
    must be at least one. Text in double quotation marks right before them must stand in one of these
    passages, and any other of three words or more in one that the answer cites. As a list of `Citation`,
    each must name a passage that exists and quote words that stand in it. Spaces, capitals, kinds of
    dashes and of quotation marks do not count, and "…" stands for words left out.

        def grounded(qa: QA) -> bool | str:
            return check_citations(qa.answer, qa.passages)

        chain(search, answer, gate(grounded, repair=answer))
    """
    problems = list(_in_text(answer, passages) if isinstance(answer, str) else _in_list(answer, passages))
    return " ".join(dict.fromkeys(problems)) if problems else True


def cited_passages(answer: str | Sequence[Citation], passages: Sequence[Passage]) -> list[Passage]:
    """Return the passages that an answer cites, in their order; numbers that do not exist count nothing."""
    if isinstance(answer, str):
        numbers = {number for marker in _MARKER.finditer(answer) for number in _numbers(marker[1])}
    else:
        numbers = {citation.passage for citation in answer}
    return [passage for number, passage in enumerate(passages, 1) if number in numbers]


def _in_text(answer: str, passages: Sequence[Passage]) -> Iterator[str]:
    markers = list(_MARKER.finditer(answer))
    if not markers:
        yield f"The answer cites no passage. {_known(passages)}"
        return
    for marker in markers:
        for number in _numbers(marker[1]):
            yield from _missing(number, passages)
    cited = cited_passages(answer, passages)
    for quoted in _QUOTED.finditer(answer):
        quote = next(filter(None, quoted.groups()))
        follows = _FOLLOWS.match(answer, quoted.end())
        if follows is not None:
            numbers = [n for n in _numbers(follows[1]) if 1 <= n <= len(passages)]
            if numbers and not any(_stands(quote, passages[n - 1].text) for n in numbers):
                yield _no_quote(quote, ", ".join(map(str, numbers)))
        elif len(quote.split()) >= MIN_QUOTE and not any(_stands(quote, p.text) for p in cited):
            yield f'The words "{quote}" stand in no passage that the answer cites.'


def _in_list(citations: Sequence[Citation], passages: Sequence[Passage]) -> Iterator[str]:
    if not citations:
        yield f"The answer cites no passage. {_known(passages)}"
    for citation in citations:
        missing = list(_missing(citation.passage, passages))
        yield from missing
        if not citation.quote.strip(" .…"):
            yield f"The citation of passage [{citation.passage}] quotes no words."
        elif not missing and not _stands(citation.quote, passages[citation.passage - 1].text):
            yield _no_quote(citation.quote, str(citation.passage))


def _missing(number: int, passages: Sequence[Passage]) -> Iterator[str]:
    if not 1 <= number <= len(passages):
        yield f"There is no passage [{number}]. {_known(passages)}"


def _known(passages: Sequence[Passage]) -> str:
    if not passages:
        return "No passages were found, so nothing can be cited."
    return "Cite [1]." if len(passages) == 1 else f"Cite from [1] to [{len(passages)}]."


def _no_quote(quote: str, numbers: str) -> str:
    return f'The words "{quote}" do not stand in passage [{numbers}]. Quote exactly, or only cite.'


def _numbers(text: str) -> Iterator[int]:
    """Yield the numbers of "1, 3-5"; a span that is too wide to be one counts by its ends."""
    for part in re.split(r"\s*[,;]\s*", text):
        first, *rest = (int(number) for number in re.split(r"\s*[–-]\s*", part))
        last = rest[-1] if rest else first
        yield from range(first, last + 1) if 0 <= last - first < 100 else (first, last)


def _stands(quote: str, text: str) -> bool:
    """Tell whether the parts of a quotation stand in a text, in their order."""
    place, plain = 0, _plain(text)
    parts = [part for piece in _GAP.split(quote) if (part := _plain(piece).strip(" .,;:!?\"'"))]
    for part in parts:
        at = plain.find(part, place)
        if at < 0:
            return False
        place = at + len(part)
    return bool(parts)


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKC", html.unescape(text)).translate(_SAME)
    return " ".join(text.split()).casefold()
