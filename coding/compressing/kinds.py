"""What each line of a file is: code, the head of a definition, an import, a comment, documentation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from pathlib import PurePosixPath
from typing import Final

__all__ = [
    "MOST_CHARS",
    "MOST_OF_HEAD",
    "Family",
    "Kind",
    "Marks",
    "family_of",
    "head_name",
    "indent_of",
    "line_kinds",
]


class Kind(Enum):
    """What a line is."""

    BLANK = "blank"
    CODE = "code"
    HEAD = "head"
    IMPORT = "import"
    COMMENT = "comment"
    DOCUMENTATION = "documentation"


class Family(Enum):
    """Languages that are read alike."""

    PYTHON = "python"
    BRACES = "braces"
    HASH = "hash"
    DATA = "data"
    PROSE = "prose"
    UNKNOWN = "unknown"


_SUFFIXES: Final = {
    Family.PYTHON: "py pyi pyx pxd",
    Family.BRACES: "js jsx mjs cjs ts tsx mts java go rs c h cc cpp cxx hh hpp cs php kt kts swift scala "
    "dart css scss less proto groovy zig vue svelte m mm sol",
    Family.HASH: "rb sh bash zsh r pl pm ex exs ps1 cr nim jl tcl cmake mk tf",
    Family.DATA: "json yaml yml toml xml html htm ini cfg ipynb",
    Family.PROSE: "md markdown rst txt adoc tex",
}
_FAMILY_OF: Final = {suffix: family for family, all_ in _SUFFIXES.items() for suffix in all_.split()}

_PYTHON_HEAD: Final = re.compile(r"\s*(?:async\s+def|def|class)\s+(\w+)")
_DECORATOR: Final = re.compile(r"\s*@[\w.]+")
_MODIFIERS: Final = (
    r"(?:(?:export|default|declare|public|private|protected|internal|static|final|abstract|async|"
    r"pub(?:\(\w+\))?|unsafe|const|override|virtual|sealed|partial|inline|extern|open|suspend|data)\s+)*"
)
_HEAD: Final = re.compile(
    rf"{_MODIFIERS}(?:function\*?|class|interface|enum|struct|trait|impl|fn|func|fun|def|module|namespace|type|"
    r"record|object|sub|mod|message|service)\b\s*(?:<[^<>]{0,80}>\s*)?(?:\([^()]{0,80}\)\s*)?([\w$.]+)"
)
_ASSIGNED: Final = re.compile(
    rf"{_MODIFIERS}(?:(?:let|var|const)\s+)?([\w$]+)\s*[=:]\s*"
    r"(?:async\s+)?(?:function\b|\([^()]{0,200}\)[^=]{0,80}=>|[\w$]+\s*=>)"
)
_METHOD: Final = re.compile(r"(?:[\w$<>\[\],.*&:~?]+\s+){0,6}([\w$~]+)\s*\([^;]{0,400}\{\s*$")
_CONTROL: Final = frozenset(
    "if for while switch catch else return do try with match foreach using lock".split()
)
_IMPORT: Final = re.compile(
    r"\s*(?:from\s+\S+\s+import\b|import\b|#\s*include\b|using\s+[\w.]+;|use\s+[\w:]+|require\b|package\s+[\w.]+;?$)"
)
_PROSE_LINE: Final = re.compile(r"\s*[A-Za-z][a-z']* [a-z']+ [a-z']+(?:[ ,.;:]|$)")
_STATEMENT: Final = re.compile(
    r"\s*(?:return|if|for|elif|while|not|assert|raise|yield|with|async|await|del|from|import|global|else|lambda)\b"
)
_TRIPLE: Final = re.compile(r'"""|\'\'\'|#|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'')
_DOC_START: Final = re.compile(r'\s*[rRuUbBfF]{0,2}("""|\'\'\')')
MOST_CHARS: Final = 2_000
MOST_OF_HEAD: Final = 500  # characters
_WORD: Final = re.compile(r"[\w$#~\[]+")


def family_of(file: str) -> Family:
    """Return how a file is read, by its name."""
    return _FAMILY_OF.get(PurePosixPath(file.replace("\\", "/")).suffix[1:].casefold(), Family.UNKNOWN)


def indent_of(line: str) -> int:
    """Return how far a line is indented, a tab being as good as four blanks."""
    space = line[: len(line) - len(line.lstrip())]
    return len(space) + 3 * space.count("\t")


def head_name(line: str, family: Family) -> str | None:
    """Return the name that a line begins to define; None where it defines nothing."""
    if len(line) > MOST_CHARS:
        return None
    if family is Family.PYTHON:
        match = _PYTHON_HEAD.match(line)
        return match[1] if match else None
    if family is Family.DATA:
        return None
    text = line.strip()
    first = _WORD.match(text)
    if len(text) > MOST_OF_HEAD or first is None or first[0] in _CONTROL:
        return None
    for pattern in (_HEAD, _ASSIGNED, _METHOD):
        match = pattern.match(text)
        if match and match[1] not in _CONTROL:
            return match[1]
    return None


def line_kinds(lines: Sequence[str], family: Family) -> list[Kind]:
    """Return the kind of each line. The lines may begin and end anywhere in a file."""
    comment = "//" if family is Family.BRACES else "#"
    marks: Sequence[Kind | None] = [None] * len(lines)
    if family in (Family.PYTHON, Family.BRACES):
        mark = _python_marks if family is Family.PYTHON else _brace_marks
        marks = _likelier(lines, mark(lines, False), mark(lines, True))
    return [
        _plain_kind(line, family, comment) if mark is None else mark
        for line, mark in zip(lines, marks, strict=True)
    ]


Marks = list[Kind | None]  # None where a line is what it looks like


def _likelier(lines: Sequence[str], outside: Marks, inside: Marks) -> Marks:
    """Return the likelier of two readings: the lines may begin inside of documentation.

    Code that reads like a sentence speaks against a reading, and documentation that reads like code.
    """
    for_inside = 0
    for line, one, other in zip(lines, outside, inside, strict=True):
        if (one is Kind.DOCUMENTATION) is not (other is Kind.DOCUMENTATION):
            text = line[:MOST_CHARS]
            ends_as_code = text.rstrip().endswith(("{", ";")) or (
                bool(_PYTHON_HEAD.match(text)) and text.rstrip().endswith((":", "("))
            )
            is_prose = bool(_PROSE_LINE.match(text)) and not _STATEMENT.match(text)
            vote = is_prose - ends_as_code
            for_inside += vote if other is Kind.DOCUMENTATION else -vote
    return inside if for_inside > 0 else outside


def _plain_kind(line: str, family: Family, comment: str) -> Kind:
    bare = line.strip()
    if not bare:
        return Kind.BLANK
    if _IMPORT.match(line[:MOST_CHARS]):
        return Kind.IMPORT
    if bare.startswith(comment):
        return Kind.COMMENT
    if _DECORATOR.match(line[:MOST_CHARS]) or head_name(line, family) is not None:
        return Kind.HEAD
    return Kind.CODE


def _python_marks(lines: Sequence[str], is_inside: bool) -> Marks:
    marks: Marks = []
    open_quote, is_documentation = ('"""' if is_inside else ""), True
    for line in lines:
        if open_quote:
            marks.append(Kind.DOCUMENTATION if is_documentation else Kind.CODE)
            if open_quote in line:
                open_quote = _left_open(line.split(open_quote, 1)[1])
        elif '"""' not in line and "'''" not in line:
            marks.append(None)
        else:
            is_documentation = bool(_DOC_START.match(line))
            marks.append(Kind.DOCUMENTATION if is_documentation else None)
            open_quote = _left_open(line)
    return marks


def _left_open(line: str) -> str:
    """Return the triple quote that a line leaves open; an empty text if none."""
    if len(line) > MOST_CHARS:
        return next((quote for quote in ('"""', "'''") if line.count(quote) % 2), "")
    place = 0
    while match := _TRIPLE.search(line, place):
        if match[0] == "#":
            return ""
        place = match.end()
        if match[0] in ('"""', "'''"):
            end = line.find(match[0], place)
            if end < 0:
                return match[0]
            place = end + 3
    return ""


def _brace_marks(lines: Sequence[str], is_inside: bool) -> Marks:
    marks: Marks = []
    for line in lines:
        begins = not is_inside and line.lstrip().startswith("/*")
        marks.append(Kind.DOCUMENTATION if is_inside or begins else None)
        if is_inside or begins:
            is_inside = "*/" not in (line.split("/*", 1)[1] if begins else line)
    return marks
