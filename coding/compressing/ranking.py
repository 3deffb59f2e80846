"""How much each part is worth for a question: by words, by its place, and by what it calls."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .kinds import Kind
from .parts import Block, Line, Part
from .words import identifiers, words

__all__ = ["Weights", "worth_of"]

_K1: Final = 1.2  # of BM25: how fast another occurrence of a word counts less
_B: Final = 0.5  # of BM25: how much a long text's words count less
_COMMON_NAME: Final = 12  # parts that define a name: one that more define says nothing


@dataclass(frozen=True, slots=True)
class Weights:
    """What a part's worth is the sum of, each between 0 and 1 before it is weighed."""

    block: float = 1.0  # the words of its block
    own: float = 1.25  # its own words
    file: float = 0.25  # the three best blocks of its file
    place: float = 0.8  # the place of its read: they come best first
    parent: float = 0.2  # the words of the block around its own
    calls: float = 0.6  # what it calls
    neighbour: float = 0.4  # of the worth of the better part beside it
    length: float = 0.5  # how much a short part is preferred, between 0 and 1
    # of a word in its block: in its documentation, its name, its parent's name, its file's name
    documentation: float = 0.6
    name: float = 3.0
    parent_name: float = 1.0
    file_name: float = 1.0


def worth_of(query: str, blocks: Sequence[Block], weights: Weights) -> dict[Part, float]:
    """Return the worth of each part. The blocks come read by read, in the order of the reads."""
    query_words = {
        word: 1 + 0.3 * math.log(count) for word, count in Counter(words(identifiers(query))).items()
    }
    parts = [part for block in blocks for part in block.parts]
    bags = {part: _bag(part.lines, weights) for part in parts}
    scores = _shares(query_words, [_block_bag(block, bags, weights) for block in blocks])
    of_block = dict(zip(blocks, scores, strict=True))
    own = _shares(query_words, [bags[part] for part in parts])
    of_file = _file_scores(of_block)
    calls = _calls(
        parts, [(of_block[part.block] + score) / 2 for part, score in zip(parts, own, strict=True)]
    )
    place: dict[str, int] = {}
    for block in blocks:
        place.setdefault(block.file, len(place))
    worth = [
        weights.block * of_block[part.block]
        + weights.own * score
        + weights.file * of_file[part.block.file]
        + weights.place / (1 + place[part.block.file])
        + weights.parent * (of_block[part.block.parent] if part.block.parent else 0.0)
        + weights.calls * called
        for part, score, called in zip(parts, own, calls, strict=True)
    ]
    return dict(zip(parts, _with_neighbours(parts, worth, weights.neighbour), strict=True))


def _bag(lines: Iterable[Line], weights: Weights) -> Counter[str]:
    bag: Counter[str] = Counter()
    for line in lines:
        if line.kind is Kind.DOCUMENTATION:
            for word in words(line.names):
                bag[word] += weights.documentation  # type: ignore[assignment]
        elif line.kind is not Kind.BLANK:
            bag.update(words(line.names))
    return bag


def _block_bag(block: Block, bags: Mapping[Part, Counter[str]], weights: Weights) -> Counter[str]:
    bag: Counter[str] = Counter()
    for part in block.parts:
        for word, count in bags[part].items():
            bag[word] += count
    names = [(block.name, weights.name), (_stem_of(block.file), weights.file_name)]
    if block.parent is not None:
        names.append((block.parent.name, weights.parent_name))
    for name, weight in names:
        for word in words(identifiers(name)):
            bag[word] += weight  # type: ignore[assignment]
    return bag


def _stem_of(file: str) -> str:
    return file.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]


def _shares(query_words: Mapping[str, float], bags: Sequence[Mapping[str, float]]) -> list[float]:
    """Return the BM25 score of each bag of words, as a share of the best."""
    if not bags:
        return []
    sizes = [sum(bag.values()) for bag in bags]
    mean = sum(sizes) / len(bags) or 1.0
    weight = {}
    for word, count in query_words.items():
        having = sum(word in bag for bag in bags)
        weight[word] = count * math.log(1 + (len(bags) - having + 0.5) / (having + 0.5)) * (_K1 + 1)
    scores = []
    for bag, size in zip(bags, sizes, strict=True):
        slack = _K1 * (1 - _B + _B * size / mean)
        scores.append(
            sum(weight[word] * bag[word] / (bag[word] + slack) for word in query_words if word in bag)
        )
    best = max(scores) or 1.0
    return [score / best for score in scores]


def _file_scores(of_block: Mapping[Block, float]) -> dict[str, float]:
    every: defaultdict[str, list[float]] = defaultdict(list)
    for block, score in of_block.items():
        every[block.file].append(score)
    scores = {file: sum(sorted(all_, reverse=True)[:3]) / 3 for file, all_ in every.items()}
    best = max(scores.values(), default=0.0) or 1.0
    return {file: score / best for file, score in scores.items()}


def _calls(parts: Sequence[Part], scores: Sequence[float]) -> list[float]:
    """Return for each part the best score among the parts that define what it names."""
    defining: defaultdict[str, list[int]] = defaultdict(list)
    for place, part in enumerate(parts):
        if part.block.name:
            defining[part.block.name].append(place)
    best_of = {
        name: max(scores[place] for place in places)
        for name, places in defining.items()
        if len(places) <= _COMMON_NAME
    }
    best = []
    for part in parts:
        named = {
            name for line in part.lines if line.kind is Kind.CODE for name in line.names if name in best_of
        }
        best.append(max((best_of[name] for name in named if name != part.block.name), default=0.0))
    return best


def _with_neighbours(parts: Sequence[Part], worth: Sequence[float], weight: float) -> list[float]:
    out = []
    for place, (part, own) in enumerate(zip(parts, worth, strict=True)):
        beside = [
            worth[other]
            for other in (place - 1, place + 1)
            if 0 <= other < len(parts) and parts[other].block.file == part.block.file
        ]
        out.append(own + weight * max(beside, default=0.0))
    return out
