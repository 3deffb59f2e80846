"""How lines and their places are named in a refusal."""

from __future__ import annotations


def shown(line: str) -> str:
    line = line.strip()
    return line if len(line) <= 60 else line[:57] + "..."


def places_of(numbers: list[int]) -> str:
    """Line numbers as a sentence has them: 12, 40 and 88."""
    told = [str(number) for number in numbers[:5]]
    if len(numbers) > 5:
        told.append(f"{len(numbers) - 5} more")
    return told[0] if len(told) == 1 else ", ".join(told[:-1]) + " and " + told[-1]
