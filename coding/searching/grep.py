"""Lines that match a pattern: ripgrep finds the files where it is installed, Python the lines in them.

So the result is the same with and without it, in the order of paths and lines.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...state.errors import InputError
from ..files.walking import read_text

__all__ = ["Match", "compiled", "grep", "ripgrep"]

_ARGUMENT_BYTES = 400_000  # of paths for one call of ripgrep; Linux takes more, Windows 32,000 characters
_LONGEST = 500  # characters of a line that are looked at; longer lines are data or made by a program
_REPEATS = 3
_GROUP = re.compile(r"\((?:\?[:=!<>P\w]*)?([^()]*)\)([*+{]?)")


@dataclass(frozen=True)
class Match:
    """A line that matches: its number from 1, and its text without the line's end."""

    file: str
    line: int
    text: str


def grep(root: Path, files: Iterable[str], pattern: str, *, literal: bool = False) -> Iterator[Match]:
    """Yield the lines of these files that match, in the order of the files.

    A pattern in lower case matches in any case, one with a capital exactly. Raises InputError for a pattern
    that is no regular expression."""
    expression = compiled(pattern, literal=literal)
    plain = _plain_text(pattern, literal=literal)
    names = list(files)
    for name in _candidates(root, names, expression, plain):
        text = read_text(root / name)
        if text is None or plain.lower() not in text.lower():
            continue
        for number, line in enumerate(text.split("\n"), 1):
            if expression.search(line[:_LONGEST]):
                yield Match(name, number, line.rstrip("\r"))


def compiled(pattern: str, *, literal: bool = False) -> re.Pattern[str]:
    """Return the expression for a pattern. Raises InputError for one that Python's `re` does not take."""
    source = re.escape(pattern) if literal else pattern
    flags = re.MULTILINE | (0 if re.search(r"(?<!\\)[A-Z]", pattern) else re.IGNORECASE)
    if not literal and _may_take_for_ever(pattern):
        raise InputError(
            f"{pattern!r} could take for ever: use at most {_REPEATS} of * and +, and none after a group "
            "with one, or a |, in it."
        )
    try:
        return re.compile(source, flags)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(
            f"{pattern!r} is no regular expression ({error}); write a backslash before ( ) [ ] {{ }} . * + ? "
            "that are meant as they stand."
        ) from None


def _may_take_for_ever(pattern: str) -> bool:
    """Tell whether Python could try a line in very many ways: it has no bound, and models write patterns."""
    bare = re.sub(r"\[\^?\]?[^\]]*\]", "x", re.sub(r"\\.", "x", pattern, flags=re.DOTALL))
    if len(re.findall(r"[*+]|\{\d*,\d*\}", bare)) > _REPEATS or len(pattern) > 500:
        return True
    while group := _GROUP.search(bare):
        inner, repeat = group[1], group[2]
        if repeat and re.search(r"[*+|{]", inner):
            return True
        stand_in = "x+" if re.search(r"[*+{]", inner) else "x|x" if "|" in inner else "x"
        bare = bare[: group.start()] + stand_in + bare[group.end() - len(repeat) :]
    return False


@cache
def ripgrep() -> str | None:
    """Return where ripgrep is: beside this Python (its wheel), or on the PATH; None without one."""
    beside = shutil.which("rg", path=str(Path(sys.executable).parent))
    return beside or shutil.which("rg")


def _candidates(root: Path, names: Sequence[str], expression: re.Pattern[str], plain: str) -> Iterator[str]:
    """Yield the files that may match: those that ripgrep names, or all where it cannot say."""
    program = ripgrep()
    if program is None or not plain or len(names) < 50:
        yield from names
        return
    case = ["--ignore-case"] if expression.flags & re.IGNORECASE else []
    for part in _parts(names):
        command = [
            program,
            "--no-config",
            "--files-with-matches",
            "--text",
            "--fixed-strings",
            "--no-messages",
        ]
        done = subprocess.run(  # noqa: S603 (no shell; the names stand behind --, the pattern behind -e)
            [*command, *case, "-e", plain, "--", *part], cwd=root, capture_output=True, check=False
        )
        if done.returncode > 1:
            yield from part
            continue
        paths = set(done.stdout.decode("utf-8", "replace").split("\n"))
        yield from (name for name in part if name in paths or not name.isprintable())


def _plain_text(pattern: str, *, literal: bool) -> str:
    """Return the longest text that each match of a pattern has in it, "" if there is none to rely on.

    ripgrep and Python read some expressions in different ways: so ripgrep is asked for plain ASCII text
    alone."""
    if not literal and re.search(r"[|?*{(\[\\]", pattern):
        return ""
    text = pattern if literal else max(re.split(r"[.^$+]", pattern), key=len)
    return text if len(text) > 2 and text.isascii() and text.isprintable() else ""


def _parts(names: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    most = 30_000 if sys.platform == "win32" else _ARGUMENT_BYTES
    for name in names:
        if part and size + len(name) + 3 > most:
            yield part
            part, size = [], 0
        part.append(name)
        size += len(name.encode()) + 3
    if part:
        yield part
