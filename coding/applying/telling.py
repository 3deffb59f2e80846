"""How lines and their places are named in a refusal."""

from __future__ import annotations


def shown(line: str) -> str:
    line = line.strip()
    return line if len(line) <= 60 else line[:57] + "..."


def places_of(numbers: list[int]) -> str:
    """Line numbers as a sentence has them: 12, 40 and 88."""
    texts = [str(number) for number in numbers[:5]]
    if len(numbers) > 5:
        texts.append(f"{len(numbers) - 5} more")
    return texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " and " + texts[-1]
