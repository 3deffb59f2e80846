"""Outlines of Python by its own parser, and by indentation where the file does not parse."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from ..python_syntax import parse_python
from .definitions import Definition

__all__ = ["python_outline"]

_AROUND = ast.If | ast.Try | ast.TryStar | ast.With | ast.For | ast.While


def python_outline(text: str) -> list[Definition] | None:
    """Return the classes and functions of a module in the order of their lines, None if it does not parse."""
    try:
        return list(_inside(parse_python(text).body, (), 0))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a long elif nests, too
        return None


def _inside(body: Sequence[ast.stmt], names: tuple[str, ...], depth: int) -> Iterator[Definition]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            end = node.end_lineno or node.lineno
            path = (*names, node.name)
            doc = _docstring(node)
            first = node.body[1] if doc and len(node.body) > 1 else node.body[0]
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            yield Definition(".".join(path), kind, start, end, depth, doc, first.lineno)
            yield from _inside(node.body, path, depth + 1)
        elif isinstance(node, _AROUND):
            yield from _inside(node.body, names, depth)
            yield from _inside(getattr(node, "orelse", ()), names, depth)
            for handler in getattr(node, "handlers", ()):
                yield from _inside(handler.body, names, depth)
            yield from _inside(getattr(node, "finalbody", ()), names, depth)


def _docstring(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> tuple[int, int] | None:
    first = node.body[0]
    value = first.value if isinstance(first, ast.Expr) else None
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return first.lineno, first.end_lineno or first.lineno
    return None
