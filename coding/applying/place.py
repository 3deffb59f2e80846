"""A place that a segment can stand for, and which of two places is meant."""

from __future__ import annotations

from dataclasses import dataclass

TELLING = 2.5  # what a line tells that stands once, or nearly
WIDE = 3.0  # by how much a place must be better than one that explains something else


@dataclass(frozen=True, slots=True)
class Place:
    """Lines `start` to `end` (from 0, end excluded) of the file that a segment stands for."""

    start: int
    end: int
    shift: int
    kept: tuple[tuple[int, int], ...]  # (filled line of the segment, filled line of the file)
    score: float
    evidence: float  # what the lines that stay tell, without what speaks against the place
    solid: bool  # the lines that stay at its beginning, and at its end, are not such as stand everywhere
    lead: int  # how many lines at its beginning stay
    trail: int  # and at its end
    deleted: int
    twice: bool  # it would define a name a second time
    defines: bool  # it would add a definition
    renames: bool  # it would put a definition in the place of another one
    total: int  # the segment's filled lines
    doubted: bool = False  # a place within it only adds lines, and may be meant as well
    edge: str = ""  # "", "near", "end" or "start": new code beyond the one anchor

    @property
    def gone(self) -> set[int]:
        """The filled lines of the file that the place takes away."""
        stays = [ordinal for _, ordinal in self.kept]
        return set(range(stays[0], stays[-1] + 1)).difference(stays) if stays else set()

    @property
    def changes(self) -> bool:
        return self.deleted > 0 or len(self.kept) < self.total


def nearer(one: Place, other: Place) -> bool:
    """Tell whether a place within another one is surely meant.

    A reader takes the nearest line that fits. So the outer place is meant only if more of the snippet stays
    there; and not even then if the inner one only adds lines, while the outer one puts a definition in
    another's place.
    """
    if one is other or (one.start, one.end) == (other.start, other.end):
        return False
    if one.start < other.start or one.end > other.end or runs_on(one, other):
        return False
    if one.evidence >= other.evidence - 1e-9:
        return one.evidence > other.evidence + 1e-9 or one.lead + one.trail >= other.lead + other.trail
    if (one.twice and not other.twice) or len(one.kept) == len(other.kept):
        return False  # as many lines stay in the outer one, and one beside them is nearly the same
    if one.deleted == 0 or other.deleted - one.deleted > 2 * (len(other.kept) - len(one.kept)):
        solid = one.lead >= 2 and one.trail >= 1 and one.evidence >= WIDE
        return (other.renames and solid) or (one.lead >= other.lead and one.trail >= other.trail)
    return False


def doubts(one: Place, other: Place) -> bool:
    """Tell whether a place within another one adds lines, and takes away none that the other leaves."""
    inside = (
        one.start >= other.start and one.end <= other.end and (one.start, one.end) != (other.start, other.end)
    )
    if not inside or one.twice or not one.deleted < other.deleted:
        return False
    if one.deleted and not (one.gone < other.gone and one.solid):
        return False
    return (
        one.solid
        or one.defines
        or one.lead + one.trail >= other.lead + other.trail
        or one.score > other.score - WIDE
    )


def runs_on(one: Place, other: Place) -> bool:
    """Tell whether lines that go may be others, of a wider place: more lines stay there at an end in a row.

    `{ a }` between lines that stay, and one closing brace in the snippet: which of two blocks goes?
    """
    if not one.deleted or not other.deleted or one.start < other.start or one.end > other.end:
        return False
    further = other.lead > one.lead or other.trail > one.trail
    return further and {i for i, _ in one.kept} <= {i for i, _ in other.kept}


def rivals(one: Place, other: Place) -> bool:
    """Tell whether a place may be meant though `one` has more evidence: each explains something."""
    if (one.start, one.end) == (other.start, other.end):
        return False
    if runs_on(one, other):
        return True
    more, less = {i for i, _ in one.kept}, {i for i, _ in other.kept}
    if less < more and one.deleted <= other.deleted:
        return False
    if other.score > one.score - WIDE:
        return True
    if more < less and (other.evidence >= one.evidence + TELLING or len(less) == one.total):
        return True  # it explains all that the best explains, and a line that stands once, or everything
    if other.twice or not other.deleted == 0 < one.deleted:
        return False
    return other.solid or (other.lead >= one.lead and other.trail >= one.trail)
