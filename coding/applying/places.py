"""Where a segment of a snippet can stand in a file: places between two anchors, each with its evidence."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from functools import cached_property
from itertools import pairwise
from math import log2

from ...state.errors import ApplyRefused
from .definitions import accessor, defined
from .nearness import near
from .place import WIDE, Place, doubts, nearer
from .text_lines import Lines, column

STEPS = 3_000_000  # line comparisons for one snippet: no file that repeats itself is waited for
MANY = 300
COMPARED = 60
NEAREST = 4
DELETED, HUNK, NEAR, TWICE, DROPPED = 0.4, 0.4, 0.5, 4.0, 2.0
NEARLY = 0.7
SOLID = 1.0


def too_repetitive() -> ApplyRefused:
    return ApplyRefused(
        "the file repeats these lines too often to compare all places",
        hint="begin and end each part with lines that stand once in the file",
    )


class FileIndex:
    """The file's filled lines, where each text stands, and how much one of them tells."""

    def __init__(self, lines: Lines, tab: int) -> None:
        self.lines, self.tab = lines, tab
        self.text = [lines.stripped[number] for number in lines.filled]
        self.columns = [column(lines.bodies[number], tab) for number in lines.filled]
        self.where: dict[str, list[int]] = {}
        for ordinal, text in enumerate(self.text):
            self.where.setdefault(text, []).append(ordinal)
        self.steps = STEPS
        self._scale = 3.0 / log2(len(self.text) + 2)
        self._size = len(self.text) + 1

    def pay(self, steps: int) -> None:
        """Count comparisons, so that no file takes for ever."""
        self.steps -= steps
        if self.steps < 0:
            raise too_repetitive()

    def weight(self, text: str) -> float:
        """What it tells that a line is the same: little for a brace, most for a line that stands once."""
        bits = log2(self._size / len(self.where.get(text, (0,)))) * self._scale
        solid = sum(map(str.isalnum, text[:24]))
        return max(0.2, bits * min(1.0, (solid + 1) / 8))

    def first(self, line: int) -> int:
        """The first filled line at or after a line of the file."""
        return bisect_left(self.lines.filled, line)

    @cached_property
    def definitions(self) -> dict[tuple[str, int], list[int]]:
        """The lines that define each name, by its name and indentation."""
        by_name: dict[tuple[str, int], list[int]] = {}
        for text, ordinals in self.where.items():
            name = defined(text)
            if name:
                for ordinal in ordinals:
                    by_name.setdefault((name, self.columns[ordinal]), []).append(ordinal)
        return by_name

    @cached_property
    def block_ends(self) -> list[int]:
        """For each filled line the first one after it that is indented as much or less."""
        ends = [len(self.columns)] * len(self.columns)
        open_lines: list[int] = []
        for ordinal, columns in enumerate(self.columns):
            while open_lines and self.columns[open_lines[-1]] >= columns:
                ends[open_lines.pop()] = ordinal
            open_lines.append(ordinal)
        return ends


@dataclass(slots=True)
class Wanted:
    """A segment's filled lines as they are compared."""

    lines: list[str]
    tab: int
    numbers: list[int] = field(init=False)
    text: list[str] = field(init=False)
    columns: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.numbers = [number for number, line in enumerate(self.lines) if line.strip()]
        self.text = [self.lines[number].strip() for number in self.numbers]
        self.columns = [column(self.lines[number], self.tab) for number in self.numbers]


@dataclass(slots=True)
class Search:
    """All places of one segment in a file."""

    index: FileIndex
    wanted: Wanted
    loose_first: bool = False  # the first line's indentation is unknown: the snippet was stripped
    may_be_cut: bool = False  # no mark follows: the last line may be the stump of another one
    slips: bool = False  # a line beside those that stay, and nearly the same, is misremembered: it stays too
    too_far: int = 0

    def places(self) -> list[Place]:
        want = self.wanted
        starts, ends = self.index.where.get(want.text[0], []), self.index.where.get(want.text[-1], [])
        places = self._between(starts, ends, "")
        if places or len(want.text) < 3:
            return places
        # One of the two anchors is misremembered: the line beside its neighbour is nearly the same.
        near_starts = self._near(want.text[1], 1, 0)
        near_ends = [] if self.may_be_cut else self._near(want.text[-2], -1, -1)
        return self._between(near_starts, ends, "near") + self._between(starts, near_ends, "near")

    def _near(self, neighbour: str, step: int, own: int) -> list[int]:
        mine, text = self.wanted.text[own], self.index.text
        ordinals = []
        for ordinal in self.index.where.get(neighbour, [])[: MANY * 4]:
            here = ordinal - step
            if 0 <= here < len(text) and text[here] != mine and near(text[here], mine):
                ordinals.append(here)
        return ordinals

    def _between(self, starts: list[int], ends: list[int], edge: str) -> list[Place]:
        leads = self._strongest(starts, self._lead)
        tails = self._strongest(ends, self._trail)
        by_shift: dict[int, list[tuple[int, int]]] = {}
        for ordinal, shift, run in leads:
            by_shift.setdefault(shift, []).append((ordinal, run))
        pairs: set[tuple[int, int, int, int, int]] = set()
        alone = len(self.wanted.text) == 1
        by_end: dict[int, list[tuple[int, int]]] = {}
        for ordinal, shift, run in tails:
            by_end.setdefault(shift, []).append((ordinal, run))
            options = by_shift.get(shift, [])
            until = bisect_left(options, (ordinal + alone,))
            for start, lead in self._stairs(options[:until][::-1], ordinal):
                pairs.add((start, ordinal, lead, run, shift))
        for ordinal, shift, run in leads:
            options = by_end.get(shift, [])
            since = bisect_left(options, (ordinal + (not alone),))
            for end, trail in self._stairs(options[since:], ordinal):
                pairs.add((ordinal, end, run, trail, shift))
        return self._scored(pairs, edge)

    def _strongest(self, ordinals: list[int], run_of: object) -> list[tuple[int, int, int]]:
        candidates = [(ordinal, *run_of(ordinal)) for ordinal in ordinals]  # type: ignore[operator]
        if len(candidates) > MANY:
            least = sorted((run for _, _, run in candidates), reverse=True)[MANY]
            candidates = [one for one in candidates if one[2] >= least]
            if len(candidates) > MANY * 3:
                candidates = [one for one in candidates if one[2] > least]
                if not candidates:
                    raise too_repetitive()
        return candidates

    def _stairs(self, options: list[tuple[int, int]], here: int) -> Iterable[tuple[int, int]]:
        """Of anchors ordered by distance, the nearest, and those with a longer run than all nearer ones."""
        best, far = -1, 3 * len(self.wanted.text) + 60
        for count, (ordinal, run) in enumerate(options):
            distance = abs(ordinal - here)
            self.index.pay(1)
            if distance > far:
                self.too_far += 1
                return
            run = min(run, distance + 1)
            if run > best or count < NEAREST:
                best = max(best, run)
                yield ordinal, run

    def _lead(self, start: int) -> tuple[int, int]:
        text, columns, want = self.index.text, self.index.columns, self.wanted
        shift = columns[start] - want.columns[0]
        first = int(text[start] != want.text[0])
        if self.loose_first and start + 1 < len(text) and len(want.text) > 1:
            shift, first = columns[start + 1] - want.columns[1], 1
        run = first
        while run < len(want.text) and start + run < len(text) and text[start + run] == want.text[run]:
            if columns[start + run] - want.columns[run] != shift:
                break
            run += 1
        self.index.pay(1 + run)
        return shift, run

    def _trail(self, end: int) -> tuple[int, int]:
        text, columns, want = self.index.text, self.index.columns, self.wanted
        size = len(want.text)
        shift = columns[end] - want.columns[-1]
        run = int(text[end] != want.text[-1])
        while run < size and run <= end and text[end - run] == want.text[size - 1 - run]:
            if columns[end - run] - want.columns[size - 1 - run] != shift:
                break
            run += 1
        self.index.pay(1 + run)
        return shift, run

    def _weights(self) -> list[float]:
        return [self.index.weight(text) if text in self.index.where else 0.0 for text in self.wanted.text]

    def place(self, start: int, end: int, shift: int) -> Place:
        """The place of a definition, from one filled line to another, both included."""
        place = self._place(start, end, 0, 0, shift, self._weights(), "definition")
        return replace(place, evidence=place.evidence + WIDE)  # its name stands once

    def _scored(self, pairs: Iterable[tuple[int, int, int, int, int]], edge: str) -> list[Place]:
        size = len(self.wanted.text)
        where, weights = self.index.where, self._weights()
        rough = []
        for start, end, lead, trail, shift in pairs:
            region = end - start + 1
            lead = min(lead, region)
            if (size > 1) != (region > 1):
                continue
            if region > 3 * size + 60:
                self.too_far += 1
                continue
            trail = min(trail, region - lead, size - lead)
            most = sum(weights[:lead]) + sum(weights[size - trail :])
            self.index.pay(1 + size - lead - trail)
            for at in range(lead, size - trail):
                if weights[at]:
                    stands = where[self.wanted.text[at]]
                    here = bisect_left(stands, start + lead)
                    if here < len(stands) and stands[here] <= end - trail:
                        most += weights[at]
            missing = region - size
            rough.append((most - DELETED * max(0, missing), start, end, lead, trail, shift))
        rough.sort(reverse=True)
        places: list[Place] = []
        for _, start, end, lead, trail, shift in rough[:COMPARED]:
            places.append(self._place(start, end, lead, trail, shift, weights, edge))
        places = [place for place in places if not any(nearer(other, place) for other in places)]
        return [replace(place, doubted=any(doubts(other, place) for other in places)) for place in places]

    def _place(
        self, start: int, end: int, lead: int, trail: int, shift: int, weights: list[float], edge: str
    ) -> Place:
        index, want, size = self.index, self.wanted, len(self.wanted.text)
        kept = [(at, start + at) for at in range(lead)]
        old = [(index.text[o], index.columns[o]) for o in range(start + lead, end + 1 - trail)]
        new = [(want.text[i], want.columns[i] + shift) for i in range(lead, size - trail)]
        if old and new:
            counted = Counter(old)
            self.index.pay(len(old) + sum(counted[line] for line in new))
            for a, b, length in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
                kept += [(lead + b + step, start + lead + a + step) for step in range(length)]
        kept += [(size - trail + at, end + 1 - trail + at) for at in range(trail)]
        if self.slips:
            kept = sorted({*kept, *self._slips(start, end, lead, trail)})
        elif edge:  # what the snippet says of the line that is nearly the same stands
            kept = [(i, o) for i, o in kept if index.text[o] == want.text[i]]
        hunks = sum(b[0] - a[0] > 1 or b[1] - a[1] > 1 for a, b in pairwise(kept))
        deleted = end - start + 1 - len(kept)
        evidence = sum(weights[i] for i, _ in kept) + self._misremembered(start, end, lead, trail)
        against = DELETED * deleted + HUNK * hunks + (NEAR if edge else 0)
        defines, twice, renamed = self._misdefined(start, end, shift, kept)
        against += TWICE * twice + DROPPED * renamed
        filled = index.lines.filled
        return Place(
            filled[start],
            filled[end] + 1,
            shift,
            tuple(kept),
            evidence - against,
            evidence,
            min(sum(weights[:lead]), sum(weights[size - trail :])) >= SOLID,
            lead,
            trail,
            deleted,
            twice > 0,
            defines,
            renamed > 0,
            size,
            edge=edge,
        )

    def _slips(self, start: int, end: int, lead: int, trail: int) -> list[tuple[int, int]]:
        """The lines beside those that stay that are nearly the same."""
        old, new = self.index.text, self.wanted.text
        if lead + trail >= min(len(new), end - start + 1):
            return []
        pairs = (lead, start + lead), (len(new) - 1 - trail, end - trail)
        return [(i, o) for i, o in pairs if old[o] != new[i] and near(old[o], new[i])]

    def _misremembered(self, start: int, end: int, lead: int, trail: int) -> float:
        """What it tells that the line beside the lines that stay is nearly the same."""
        old, new, evidence = self.index.text, self.wanted.text, 0.0
        if lead + trail < min(len(new), end - start + 1):
            beside = (lead, old[start + lead], new[lead]), (trail, old[end - trail], new[-1 - trail])
            evidence += sum(NEARLY for run, a, b in beside if run and a != b and near(a, b))
        return evidence

    def _misdefined(
        self, start: int, end: int, shift: int, kept: list[tuple[int, int]]
    ) -> tuple[bool, int, int]:
        """Whether a reading adds definitions, how many twice, and how many in another one's place."""
        index, want = self.index, self.wanted
        stays, old = dict(kept), {o for _, o in kept}
        gone = {(defined(index.text[o]), index.columns[o]) for o in range(start, end + 1) if o not in old}
        gone = {one for one in gone if one[0]}
        new: dict[tuple[str, int], int] = {}
        above: list[int] = []  # the segment's lines that the line stands below, in the blocks they open
        for at, text in enumerate(want.text):
            while above and want.columns[above[-1]] >= want.columns[at]:
                above.pop()
            if (
                at not in stays
                and (not above or above[-1] in stays)
                and defined(text)
                and not accessor(want.text, at)
            ):
                columns = want.columns[at] + shift
                parent = stays[above[-1]] if above else self._parent(start, columns)
                new[defined(text), columns] = parent
            above.append(at)
        twice = 0
        for one, parent in new.items():
            if one not in gone:
                ordinals = index.definitions.get(one, ())
                others = [o for o in ordinals[:MANY] if self._parent(o, one[1]) == parent]
                twice += len(others) == 1 and not start <= others[0] <= end  # more: overloads
        came, went = ({name for name, _ in some if name[0] != ":"} for some in (new, gone))
        return bool(new.keys() - gone), twice, min(len(went - came), len(came - went))

    def _parent(self, ordinal: int, columns: int) -> int:
        """The line that opens the block in which a line of so many columns stands here."""
        at = ordinal
        while at >= 0 and self.index.columns[at] >= columns:
            at -= 1
            self.index.pay(1)
        return at
