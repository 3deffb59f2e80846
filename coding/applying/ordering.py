"""Choose a place for each segment: in the snippet's order, and inside the headings that it names."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass

from .place import Place
from .places import FileIndex

INSIDE = 5.0  # what it tells that a place lies within the heading that the snippet names above it
SECTIONS = {
    "md": re.compile(r"(#{1,6})\s"),
    "markdown": re.compile(r"(#{1,6})\s"),
    "toml": re.compile(r"(\[)"),
    "ini": re.compile(r"(\[)"),
    "cfg": re.compile(r"(\[)"),
}


@dataclass(frozen=True, slots=True)
class Route:
    """Places for the first segments of a snippet. `scope` is the line where the heading's part ends, or 0."""

    score: float
    places: tuple[Place, ...]
    edits: tuple[Place, ...]
    scope: int = 0

    @property
    def end(self) -> int:
        return self.places[-1].end if self.places else 0


def routes_of(index: FileIndex, suffix: str, choices: list[list[Place]]) -> list[Route]:
    """The best routes first, with different edits."""
    routes = [Route(0.0, (), ())]
    for places in choices:
        following: list[Route] = []
        for place in places:
            reaching = [_extend(index, suffix, route, place) for route in routes if route.end <= place.start]
            following += _distinct(reaching, 3)
        routes = sorted(following, key=lambda route: -route.score)[:200]
    return _distinct(routes, 8)


def _distinct(routes: list[Route], limit: int) -> list[Route]:
    distinct: dict[tuple[tuple[int, int], ...], Route] = {}
    for route in sorted(routes, key=lambda route: -route.score):
        distinct.setdefault(tuple((place.start, place.end) for place in route.edits), route)
        if len(distinct) == limit:
            break
    return list(distinct.values())


def _extend(index: FileIndex, suffix: str, route: Route, place: Place) -> Route:
    inside = 0 < place.end <= route.scope
    scope = route.scope if inside else 0
    edits = route.edits
    if place.changes:
        edits = (*edits, place)
    else:
        scope = _named_part(index, suffix, place) or scope
    score = route.score + place.score + (INSIDE if inside else 0.0)
    return Route(score, (*route.places, place), edits, scope)


def _named_part(index: FileIndex, suffix: str, place: Place) -> int:
    """Where the innermost part ends that lines of a place open, and that goes on after it; or 0."""
    for line in range(place.end - 1, place.start - 1, -1):
        if index.lines.stripped[line]:
            end = heading_end(index, suffix, line)
            if end > place.end:
                return end
    return 0


def heading_end(index: FileIndex, suffix: str, line: int) -> int:
    """The line where the part ends that `line` opens: a def, class, key, or section; 0: it opens none."""
    filled = index.lines.filled
    ordinal = bisect_left(filled, line)
    section = SECTIONS.get(suffix)
    if section is not None:
        own = section.match(index.text[ordinal])
        if own:
            for later in range(ordinal + 1, len(filled)):
                match = section.match(index.text[later])
                if match and len(match[1]) <= len(own[1]):
                    return filled[later]
            return len(index.lines.bodies)
    if ordinal + 1 >= len(filled) or index.columns[ordinal + 1] <= index.columns[ordinal]:
        return 0
    end = index.block_ends[ordinal]
    while (
        end + 1 < len(filled) and index.text[end][0] in ")]}" and index.columns[end + 1] > index.columns[end]
    ):
        end = index.block_ends[end]
    return filled[end] if end < len(filled) else len(index.lines.bodies)
