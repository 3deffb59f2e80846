"""Which files git would not look at: `.gitignore` in every folder, and `.git/info/exclude`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["IgnoreRules", "Pattern"]

_MOST_BYTES = 1_000_000  # of one file with patterns


@dataclass(frozen=True)
class Pattern:
    """One line of such a file: what it matches below its folder, and whether it takes a match back."""

    regex: re.Pattern[str]
    negated: bool
    folders_only: bool

    @classmethod
    def read(cls, line: str) -> Pattern | None:
        """Return the pattern of a line, None for a blank line, a comment, or a pattern that git skips too."""
        line = line.rstrip("\r\n")
        while line.endswith(" ") and not line.endswith("\\ "):
            line = line[:-1]
        if not line or line.startswith("#"):
            return None
        negated = line.startswith("!")
        line = line[1:] if negated else line
        folders_only = line.endswith("/")
        line = line.rstrip("/") if folders_only else line
        if not line:
            return None
        anchored = "/" in line
        try:
            body = _translate(line.removeprefix("/"))
            regex = re.compile(body if anchored else f"(?:.*/)?{body}", re.DOTALL)
        except re.error:
            return None
        return cls(regex, negated, folders_only)


def _translate(pattern: str) -> str:
    out = []
    place = 0
    while place < len(pattern):
        if pattern.startswith("**/", place) and (place == 0 or pattern[place - 1] == "/"):
            out.append("(?:.*/)?")
            place += 3
        elif pattern[place:] == "**" and (place == 0 or pattern[place - 1] == "/"):
            out.append(".*")
            place += 2
        elif pattern[place] == "*":
            while place < len(pattern) and pattern[place] == "*":
                place += 1
            out.append("[^/]*")
        elif pattern[place] == "?":
            out.append("[^/]")
            place += 1
        elif pattern[place] == "[":
            end, text = _bracket(pattern, place)
            out.append(text)
            place = end
        else:
            if pattern[place] == "\\" and place + 1 < len(pattern):
                place += 1
            out.append(re.escape(pattern[place]))
            place += 1
    return "".join(out)


def _bracket(pattern: str, place: int) -> tuple[int, str]:
    """Return where a class of characters ends, and what it is as a regular expression."""
    inside = place + 1
    negated = pattern[inside : inside + 1] in ("!", "^")
    inside += negated
    end = pattern.find("]", inside + 1)
    if end < 0:
        raise re.error("a bracket that does not end")
    body = re.sub(r"\[:(\w+):\]", lambda m: _CLASSES.get(m[1], ""), pattern[inside:end])
    body = body.replace("\\", "\\\\") if "\\" not in pattern[inside:end] else body
    body = body.replace("[", "\\[")
    return end + 1, f"(?!/)[{'^' if negated else ''}{body}]"


_CLASSES = {
    "alpha": "A-Za-z",
    "digit": "0-9",
    "alnum": "A-Za-z0-9",
    "space": r"\s",
    "upper": "A-Z",
    "lower": "a-z",
}


class IgnoreRules:
    """The patterns that hold in a folder: those of the folders above it first, its own last."""

    def __init__(self, levels: Iterable[tuple[str, tuple[Pattern, ...]]] = ()) -> None:
        self._levels = tuple(levels)

    @classmethod
    def of(cls, root: Path) -> IgnoreRules:
        """Return what holds in the root itself, before its own `.gitignore`."""
        return cls().with_file(root / ".git" / "info" / "exclude", "")

    def with_file(self, file: Path, folder: str) -> IgnoreRules:
        """Return the rules with those of a file, which stands in the folder `folder` ("" for the root)."""
        try:
            if file.is_symlink() or not file.is_file():
                return self
            with file.open("rb") as opened:
                text = opened.read(_MOST_BYTES).decode("utf-8", "replace")
        except OSError:
            return self
        patterns = tuple(
            filter(None, (Pattern.read(line) for line in text.removeprefix("\ufeff").split("\n")))
        )
        return IgnoreRules((*self._levels, (folder, patterns))) if patterns else self

    def ignores(self, path: str, *, is_folder: bool) -> bool:
        """Tell whether a path, relative to the root, is left out; the last pattern that matches decides."""
        for folder, patterns in reversed(self._levels):
            below = path[len(folder) + 1 :] if folder else path
            for pattern in reversed(patterns):
                if (is_folder or not pattern.folders_only) and pattern.regex.fullmatch(below):
                    return not pattern.negated
        return False
