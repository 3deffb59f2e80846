"""The prompts that were tried, and which of them are worth going on from: a Pareto front over the cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import fmean

from ..suite.model import digest


@dataclass(frozen=True)
class Candidate:
    """One prompt, its mean score on each case of the search, and the numbers of what it was made from."""

    text: str
    scores: Mapping[str, float]
    parents: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        return fmean(self.scores.values()) if self.scores else 0.0

    @property
    def key(self) -> str:
        return key_of(self.text)


def key_of(text: str) -> str:
    """Return what tells a prompt from others in the names of its runs."""
    return digest(text)[:8]


@dataclass
class Pool:
    """Candidates in the order in which they were found; the first one is the prompt as it is."""

    candidates: list[Candidate] = field(default_factory=list)

    @property
    def base(self) -> Candidate:
        return self.candidates[0]

    @property
    def best(self) -> Candidate:
        """The one with the highest mean; of equals the earliest."""
        return max(self.candidates, key=lambda candidate: candidate.mean)

    def front(self) -> dict[int, int]:
        """Return the candidates that no other makes superfluous, and on how many cases each is the best."""
        wins: dict[int, set[str]] = {number: set() for number in range(len(self.candidates))}
        for case in self.base.scores:
            values = [candidate.scores.get(case, 0.0) for candidate in self.candidates]
            top = max(values)
            for number, value in enumerate(values):
                if value >= top - 1e-12:
                    wins[number].add(case)
        kept = {number for number, cases in wins.items() if cases}
        for number in sorted(kept, key=lambda n: (len(wins[n]), self.candidates[n].mean)):
            if any(wins[number] <= wins[other] for other in kept - {number}):
                kept.discard(number)
        return {number: len(wins[number]) for number in sorted(kept)}

    def draw(self, random: Random) -> int:
        """Return a candidate of the front; the more cases it is the best on, the likelier."""
        front = self.front()
        return random.choices(list(front), list(front.values()))[0]

    def complementing(self, tried: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
        """Return two of the front that each do better somewhere, and were not merged before."""
        front = sorted(self.front().items(), key=lambda item: -item[1])
        for place, (one, _) in enumerate(front):
            for other, _ in front[place + 1 :]:
                pair = (min(one, other), max(one, other))
                if pair not in tried:
                    return pair
        return None
