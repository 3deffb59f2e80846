"""Python definitions given whole: each takes the place of the one definition of that name."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from ..python_syntax import parse_python
from .marks import Segment
from .place import Place
from .places import FileIndex, Search, Wanted
from .text_lines import column


@dataclass(frozen=True, slots=True)
class GivenDefinition:
    """A def or class, from its first decorator (line numbers from 0, the last one excluded)."""

    name: str
    kind: str
    start: int
    end: int
    columns: int


def whole_definition(index: FileIndex, segment: Segment, want: Wanted) -> list[Place]:
    """The place of the one definition with the name of that which the segment gives whole."""
    definition = _single(segment, want)
    if definition is None or any(
        "\r" in body for body in index.lines.bodies
    ):  # Python counts other lines then
        return []
    tree = parsed(index.lines.text())
    if tree is None:
        return []
    named = [old for old in definitions(tree) if (old.name, old.kind) == (definition.name, definition.kind)]
    if len(named) != 1:
        return []
    first, last = index.first(named[0].start), index.first(named[0].end) - 1
    # A body under an old heading may be its beginning only, with the mark after it indented wrongly.
    if 10 * len(want.text) < 7 * (last - first + 1) or not (
        index.text[last] in want.text or want.text[-1].startswith(("return", "raise"))
    ):
        return []
    inside = set(index.text[first : last + 1])
    if any(line in index.where and line not in inside and index.weight(line) > 2 for line in want.text):
        return []  # lines of another part of the file: the parts may be given in another order
    return [Search(index, want).place(first, last, index.columns[first] - want.columns[0])]


def _single(segment: Segment, want: Wanted) -> GivenDefinition | None:
    """The definition that a segment is, if it is one and nothing else, and the mark is not in its body."""
    margin = want.columns[0]
    if min(want.columns) < margin:
        return None
    if segment.before_mark and column(segment.mark_column + "x", want.tab) > margin:
        return None
    tree = parsed("\n".join(line[_blanks(line, margin, want.tab) :] for line in segment.lines) + "\n")
    if tree is None or len(tree.body) != 1:
        return None
    outer = [one for one in definitions(tree) if one.columns == 0]
    return outer[0] if len(outer) == 1 else None


def _blanks(line: str, columns: int, tab: int) -> int:
    """How many characters of a line make up so many columns."""
    used = 0
    while used < len(line) and line[used] in " \t" and column(line[: used + 1] + "x", tab) <= columns:
        used += 1
    return used


def parsed(text: str) -> ast.Module | None:
    try:
        return parse_python(text.removeprefix("\ufeff"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def definitions(tree: ast.Module) -> list[GivenDefinition]:
    """All defs and classes in classes and at the top, not those in functions."""
    result = []
    bodies = [tree.body]
    while bodies:
        for node in bodies.pop():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
                kind = "class" if isinstance(node, ast.ClassDef) else "def"
                result.append(
                    GivenDefinition(node.name, kind, start, node.end_lineno or node.lineno, node.col_offset)
                )
                if isinstance(node, ast.ClassDef):
                    bodies.append(node.body)
    return result
