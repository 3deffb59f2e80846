"""The outline of a file in any language: by a parser where there is one, by the form of its lines else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from .definitions import Definition
from .python import python_outline
from .tree_sitter import tree_outline

__all__ = ["outline", "render_outline"]

_WORDS = (
    "class|def|enum|fn|func|fun|function|impl|interface|module|namespace|object|proc|protocol|record|struct"
    "|sub|trait|type"
)
_MARKS = (
    r"abstract|async|default|export|final|internal|open|override|private|protected|pub(?:\([a-z]+\))?|public"
    r"|sealed|static|unsafe|declare"
)
_LINE = re.compile(
    rf"^(?P<indent>[ \t]*)(?:(?:{_MARKS})\s+)*(?P<kind>{_WORDS})\b\s+(?:\([^)]*\)\s*)?"
    r"(?P<name>[A-Za-z_$][\w$.:]*)"
)
_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*$")
_CLASSES = {
    "class",
    "enum",
    "impl",
    "interface",
    "module",
    "namespace",
    "object",
    "protocol",
    "struct",
    "trait",
}


def outline(path: str, text: str) -> list[Definition]:
    """Return what a file defines, in the order of its lines; an outer definition before those in it."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in (".py", ".pyi", ".pyx"):
        definitions = python_outline(text)
        if definitions is not None:
            return definitions
    if suffix in (".md", ".markdown", ".mdx"):
        return _headings(text.split("\n"))
    parsed = tree_outline(suffix, text)
    return parsed if parsed is not None else _by_lines(text.split("\n"))


def render_outline(definitions: Sequence[Definition]) -> str:
    """Return an outline as text: the lines of each definition, and its name."""
    return "\n".join(f"{one.start}-{one.end} {one.kind} {one.name}" for one in definitions)


def _headings(lines: Sequence[str]) -> list[Definition]:
    heads: list[tuple[int, int, str]] = []
    fenced = False
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif not fenced and (match := _HEADING.match(line)):
            heads.append((number, len(match[1]), match[2]))
    sections = []
    for place, (number, level, name) in enumerate(heads):
        end = next((n - 1 for n, other, _ in heads[place + 1 :] if other <= level), len(lines))
        sections.append(Definition(name, "section", number, end, level - 1, None, number + 1))
    return sections


def _by_lines(lines: Sequence[str]) -> list[Definition]:
    """Return definitions by their first words; each ends where a line stands as far left again."""
    definitions: list[Definition] = []
    around: list[tuple[int, str, int]] = []
    for number, line in enumerate(lines, 1):
        match = _LINE.match(line[:400])
        if not match:
            continue
        indent = len(match["indent"].expandtabs(4))
        end = _end(lines, number, indent)
        while around and (around[-1][0] >= indent or around[-1][2] < number):
            around.pop()
        name = ".".join([*(outer for _, outer, _ in around), match["name"]])
        kind = "class" if match["kind"] in _CLASSES else "function"
        definitions.append(Definition(name, kind, number, end, len(around), None, number + 1))
        around.append((indent, match["name"], end))
    return definitions


def _end(lines: Sequence[str], start: int, indent: int) -> int:
    last = start
    for number in range(start + 1, len(lines) + 1):
        line = lines[number - 1]
        if not line.strip():
            continue
        if len(line) - len(line.lstrip()) <= indent:
            closes = line.strip()[0] in ")}]" or line.strip().startswith("end")
            return number if closes else last
        last = number
    return last
