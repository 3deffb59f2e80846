"""Merge a snippet with marks for what stays into a file, or refuse."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ...state.errors import ApplyRefused
from .definitions import defined
from .edges import open_places
from .marks import Segment, doubtful, is_bare_mark, marks_of, segments_of, sole_body
from .ordering import Route, routes_of
from .place import Place, rivals
from .places import MANY, FileIndex, Search, Wanted
from .structure import whole_definition
from .telling import places_of, shown
from .text_lines import Lines, split_lines, split_snippet, tab_width
from .writing import Merged, Shifted, merged_text

EVIDENCE = 1.6  # what the lines that stay must tell at least
GOING = 0.05  # and for each line that goes


def merge_marked(path: str, text: str, snippet: str, *, slips: bool = False) -> Merged:
    """Merge by anchors. What looks like a mark may be code as well: then both readings are tried.

    `slips`: where a line beside unchanged ones is nearly that of the file, the file's stays.
    """
    lines, written = split_lines(text), split_snippet(snippet)
    results: list[Merged] = []
    refusals: list[ApplyRefused] = []
    readings = readings_of(path, lines, written)
    for marks in readings:
        try:
            results.append(_merge(path, lines, segments_of(written, marks), slips=slips))
        except ApplyRefused as refused:
            refusals.append(refused)
    if len({result.text for result in results}) > 1:
        line = shown(min(readings[0] - readings[1]))
        raise ApplyRefused(
            f"`{line}` can be read as code and as a mark for what stays",
            hint="write the mark in words: # ... existing code ...",
        )
    if not results:
        raise refusals[0]
    return results[0]


def readings_of(path: str, lines: Lines, written: list[str]) -> list[set[str]]:
    """The lines that are marks. Those that the file has too, and `...` in Python, may be none of them."""
    marks = marks_of(written)
    code = {mark for mark in marks if mark in lines.stripped}
    if path.endswith((".py", ".pyi", ".pyx")):
        bare = [at for at, line in enumerate(written) if is_bare_mark(line)]
        if not all(sole_body(written, at) for at in bare) and not any(
            _stands(lines, written, at) for at in bare
        ):
            return [marks]  # `...` beside other statements is no code, unless the file has it there
        code |= {written[at].strip() for at in bare}
    return [marks, marks - code] if code else [marks]


def _stands(lines: Lines, written: list[str], at: int) -> bool:
    """Tell whether the file has a line of the snippet right before the next one."""
    later = next((line.strip() for line in written[at + 1 :] if line.strip()), "")
    text = [lines.stripped[number] for number in lines.filled]
    return bool(later) and (written[at].strip(), later) in pairwise(text)


def _merge(path: str, lines: Lines, segments: list[Segment], *, slips: bool) -> Merged:
    """Merge with the tab width under which most of the snippet fits, if tabs and blanks must be compared."""
    if not segments:
        raise ApplyRefused(
            "the snippet has no line beside marks", hint="give the new lines with lines around them"
        )
    written = [line for segment in segments for line in segment.lines]
    tabs = any(line.startswith("\t") for line in written)
    if not lines.tabbed:
        widths = [tab_width(lines.bodies) if tabs else 4]
    else:
        guess = tab_width(written)
        widths = [4] if tabs else sorted({4, 2, 8, 3}, key=lambda width: (width != guess, -width))
    plans: list[Plan] = []
    refusals: list[ApplyRefused] = []
    for width in widths:
        try:
            plans.append(_plan(path, lines, segments, width, guess=width == widths[0], slips=slips))
        except ApplyRefused as refused:
            refusals.append(refused)
    if not plans:
        raise refusals[0]
    return _decide(lines, segments, max(plans, key=Plan.rank))


@dataclass(frozen=True, slots=True)
class Plan:
    """The routes under one tab width, the best first."""

    index: FileIndex
    routes: list[Route]
    wanted: list[Wanted]
    guess: bool  # the width is that of most steps in the snippet

    def rank(self) -> tuple[bool, bool, float]:
        best = self.routes[0]
        return all(place.shift == 0 for place in best.places), self.guess, best.score


def _plan(path: str, lines: Lines, segments: list[Segment], tab: int, *, guess: bool, slips: bool) -> Plan:
    index = FileIndex(lines, tab)
    wanted = [Wanted(segment.lines, tab) for segment in segments]
    choices = []
    for at, (segment, want) in enumerate(zip(segments, wanted, strict=True)):
        places = _places(index, segment, want, first=at == 0, slips=slips)
        if not places:
            raise _unplaced(index, segment, want)
        choices.append(places)
    suffix = path.rpartition(".")[2].lower()
    routes = routes_of(index, suffix, choices)
    if not routes:
        raise ApplyRefused(
            "the parts of the snippet stand in another order in the file",
            hint="give the parts from the file's top to its end, or one part at a time",
        )
    return Plan(index, routes, wanted, guess=guess)


def _decide(lines: Lines, segments: list[Segment], plan: Plan) -> Merged:
    """Write the best route, if it is the only one that fits."""
    routes, wanted = plan.routes, plan.wanted
    best = routes[0]
    try:
        merged = _write(lines, best, wanted)
        for rival in routes[1:]:
            if _contends(best, rival) and _write(lines, rival, wanted).text != merged.text:
                raise _ambiguous(best, rival, segments)
    except Shifted:
        raise ApplyRefused(
            "a new line would stand left of the margin", hint="indent the snippet as the file is indented"
        ) from None
    moves = sum(place.deleted > 0 for place in best.edits) > 1
    headings = max((place.evidence for place in best.places if not place.changes), default=0.0)
    for place in best.edits:
        if place.doubted or (place.twice and place.deleted and not moves):
            raise ApplyRefused(
                f"new lines can be added in lines {place.start + 1} to {place.end}, or in the place of some",
                hint="give two or three unchanged lines before and after the change",
            )
        twin = _twin(plan.index, place) if headings == 0 else 0
        if twin:
            raise ApplyRefused(
                f"lines {place.start + 1} to {place.end} stand at line {twin} too, only indented otherwise",
                hint="add the line before them, or the def or class that they stand in",
            )
        left_out = _left_out(plan.index, place)
        if left_out:
            raise ApplyRefused(
                f"`{shown(left_out)}` and what follows would go, as it is left out right below its heading",
                hint="write a mark below the heading if it stays; else delete it by a diff",
            )
        if place.evidence + headings < EVIDENCE + GOING * place.deleted:
            raise ApplyRefused(
                f"too little of the snippet stands in the file to be sure of line {place.start + 1}",
                hint="give more unchanged lines before and after the change",
            )
    if best.edits and all(_slips_only(place) for place in best.edits):
        lost = any(
            place in best.edits and _lacks_blanks(plan.index, place, want)
            for place, want in zip(best.places, wanted, strict=True)
        )
        if lost:
            raise ApplyRefused(
                "the snippet lacks blank lines of the file, and else only one name in it is another",
                hint="copy unchanged lines exactly, or give a diff that takes the blank lines away",
            )
    for line in merged.new:
        if doubtful(line):
            raise ApplyRefused(
                f"`{shown(line)}` seems to leave something out, but is no mark that can be placed",
                hint="put the mark on a line of its own: # ... existing code ...",
            )
    return merged


def _places(index: FileIndex, segment: Segment, want: Wanted, *, first: bool, slips: bool) -> list[Place]:
    cut = not segment.before_mark
    places = Search(index, want, may_be_cut=cut, slips=slips).places()
    if not places and first and not segment.after_mark and want.columns[0] == 0 and len(want.text) > 1:
        places = Search(index, want, loose_first=True, may_be_cut=cut, slips=slips).places()
    return places or whole_definition(index, segment, want) or open_places(index, segment, want)


def _write(lines: Lines, route: Route, wanted: list[Wanted]) -> Merged:
    edits = [
        (place, want)
        for place, want in zip(route.places, wanted, strict=True)
        if place.changes or len(want.lines) > len(want.numbers)
    ]
    return merged_text(lines, edits)


def _twin(index: FileIndex, place: Place) -> int:
    """Where the old lines of a place stand a second time, whatever their indentation: a line number, or 0."""
    first, last = index.first(place.start), index.first(place.end)
    old = index.text[first:last]
    rarest = min(range(len(old)), key=lambda at: len(index.where[old[at]]))
    for ordinal in index.where[old[rarest]][:MANY]:
        start = ordinal - rarest
        if start != first and start >= 0 and index.text[start : start + len(old)] == old:
            return index.lines.filled[start] + 1
    return 0


def _slips_only(place: Place) -> bool:
    """Tell whether all that a place changes is a line or two that are nearly the same as the file's."""
    return place.edge == "near" and place.deleted == place.total - len(place.kept) <= 2


def _lacks_blanks(index: FileIndex, place: Place, want: Wanted) -> bool:
    """Tell whether the file has blank lines between two that stay, and the snippet fewer."""
    filled, numbers = index.lines.filled, want.numbers
    return any(
        (j, p) == (i + 1, o + 1) and filled[p] - filled[o] > numbers[j] - numbers[i]
        for (i, o), (j, p) in pairwise(place.kept)
    )


def _left_out(index: FileIndex, place: Place) -> str:
    """A definition that goes as a snippet has a heading, and then not the first that stands below it."""
    for (i, o), (j, p) in pairwise(place.kept):
        if j == i + 1 and p > o + 1 and index.block_ends[o] > p and defined(index.text[o]):
            gone = [at for at in range(o + 1, p) if index.columns[at] == index.columns[p]]
            definition = next((index.text[at] for at in gone if defined(index.text[at])), "")
            if definition and defined(index.text[p]):
                return definition
    return ""


def _contends(best: Route, rival: Route) -> bool:
    """Tell whether another route may be meant: its places explain something that the best does not."""
    if rival.score > best.score:
        return True
    parting = [
        (one, other)
        for one, other in zip(best.places, rival.places, strict=True)
        if (one.start, one.end) != (other.start, other.end)
    ]
    inside = best.score - sum(place.score for place in best.places)
    inside -= rival.score - sum(place.score for place in rival.places)
    if abs(inside) > 1:  # one of them lies under the heading that the snippet names, the other does not
        return inside < 0
    return all(rivals(one, other) for one, other in parting)


def _unplaced(index: FileIndex, segment: Segment, want: Wanted) -> ApplyRefused:
    ends = (("first", want.text[0]), ("last", want.text[-1]))
    missing = [(which, line) for which, line in ends if line not in index.where]
    if missing:
        texts = " and ".join(f"its {which} line `{shown(line)}`" for which, line in missing)
        reason = f"the part from the snippet's line {segment.first}: {texts} does not stand in the file"
    else:
        reason = (
            f"the part from the snippet's line {segment.first} fits nowhere between its first and last line"
        )
    return ApplyRefused(
        reason, hint="begin and end each part with unchanged lines, copied exactly from the file"
    )


def _ambiguous(best: Route, rival: Route, segments: list[Segment]) -> ApplyRefused:
    at = next(
        (
            i
            for i, (a, b) in enumerate(zip(best.places, rival.places, strict=True))
            if (a.start, a.end) != (b.start, b.end)
        ),
        0,
    )
    numbers = sorted({best.places[at].start + 1, rival.places[at].start + 1})
    line = shown(segments[at].lines[0])
    if len(numbers) == 1:
        numbers = sorted({best.places[at].end, rival.places[at].end})
        line = shown(segments[at].lines[-1])
    return ApplyRefused(
        f"the part that begins with `{shown(segments[at].lines[0])}` fits at more than one place: "
        f"`{line}` stands at {places_of(numbers)}",
        hint="add the line before it, or the def or class that it stands in",
    )
