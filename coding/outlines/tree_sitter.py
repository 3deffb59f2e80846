"""Outlines by tree-sitter, for the languages whose grammar is installed (the extra `code`)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from .definitions import Definition

__all__ = ["parser_for", "tree_outline"]

_GRAMMARS = {
    ".bash": ("bash", ""), ".c": ("c", ""), ".cc": ("cpp", ""), ".cjs": ("javascript", ""),
    ".cpp": ("cpp", ""), ".cs": ("c_sharp", ""), ".css": ("css", ""), ".cts": ("typescript", "_typescript"),
    ".cxx": ("cpp", ""), ".go": ("go", ""), ".h": ("c", ""), ".hpp": ("cpp", ""), ".htm": ("html", ""),
    ".html": ("html", ""), ".java": ("java", ""), ".js": ("javascript", ""), ".json": ("json", ""),
    ".jsx": ("javascript", ""), ".mjs": ("javascript", ""), ".mts": ("typescript", "_typescript"),
    ".php": ("php", "_php"), ".py": ("python", ""), ".pyi": ("python", ""), ".rb": ("ruby", ""),
    ".rs": ("rust", ""), ".sh": ("bash", ""), ".toml": ("toml", ""), ".ts": ("typescript", "_typescript"),
    ".tsx": ("typescript", "_tsx"), ".yaml": ("yaml", ""), ".yml": ("yaml", ""),
}  # fmt: skip
"""The grammar of a file's ending: its package, and the ending of its function where that has several."""

_OUTLINED = frozenset(
    """.bash .c .cc .cjs .cpp .cs .cts .cxx .go .h .hpp .java .js .jsx .mjs .mts .php .py .pyi .rb .rs
    .sh .ts .tsx""".split()
)
_ENDS = ("_definition", "_declaration", "_item", "_specifier")
_NAMES = {"method", "class", "module", "singleton_method", "variable_declarator", "type_spec"}
_CLASSES = (
    "class",
    "interface",
    "struct",
    "enum",
    "trait",
    "impl",
    "namespace",
    "module",
    "mod_item",
    "object",
)
_FUNCTIONS = {"arrow_function", "function_expression", "function", "class", "generator_function"}
_PARTS = ("import", "package", "parameter", "using")
_DEEPEST = 60


@cache
def parser_for(suffix: str) -> Any | None:
    """Return the parser for files with an ending (`.ts`), None where no grammar for it is installed."""
    if suffix not in _GRAMMARS:
        return None
    package, variant = _GRAMMARS[suffix]
    try:
        sitter = import_module("tree_sitter")
        grammar = import_module(f"tree_sitter_{package}")
        return sitter.Parser(sitter.Language(getattr(grammar, f"language{variant}")()))
    except (ImportError, AttributeError, ValueError, TypeError):
        return None


def tree_outline(suffix: str, text: str) -> list[Definition] | None:
    """Return the definitions in a file with this ending, None where no parser is installed for it."""
    parser = parser_for(suffix) if suffix in _OUTLINED else None
    if parser is None:
        return None
    return list(_inside(parser.parse(text.encode("utf-8", "replace")).root_node, (), 0))


def _inside(node: Any, names: tuple[str, ...], level: int) -> Iterator[Definition]:
    if level > _DEEPEST:
        return
    for child in node.named_children:
        name = _name(child) if _defines(child, names) else ""
        if not name:
            yield from _inside(child, names, level + 1)
            continue
        outer = child.parent if child.type == "variable_declarator" and child.parent else child
        if outer.parent is not None and outer.parent.type in ("export_statement", "decorated_definition"):
            outer = outer.parent
        path = (*names, name)
        kind = "class" if any(word in child.type for word in _CLASSES) else "function"
        start, end = outer.start_point[0] + 1, outer.end_point[0] + 1
        end -= 1 if outer.end_point[1] == 0 and end > start else 0
        body = child.child_by_field_name("body")
        first = body.start_point[0] + 1 if body is not None else start
        yield Definition(".".join(path), kind, start, end, len(names), None, first)
        yield from _inside(child, path, level + 1)


def _defines(node: Any, names: tuple[str, ...]) -> bool:
    if node.type == "variable_declarator":
        value = node.child_by_field_name("value")
        top = not names and node.start_point[1] < 20
        return value is not None and (value.type in _FUNCTIONS or top)
    if node.type in ("lexical_declaration", "variable_declaration", "field_declaration", "declaration"):
        return False
    return node.type in _NAMES or (
        node.type.endswith(_ENDS) and not any(word in node.type for word in _PARTS)
    )


def _name(node: Any) -> str:
    for _ in range(4):  # in C the name stands inside of declarators
        child = node.child_by_field_name("name") or node.child_by_field_name(
            "type" if "impl" in node.type else "name"
        )
        if child is not None:
            return str(child.text.decode("utf-8", "replace"))[:120].partition("\n")[0]
        inner = node.child_by_field_name("declarator")
        if inner is None:
            return ""
        if "identifier" in inner.type:
            return str(inner.text.decode("utf-8", "replace"))[:120]
        node = inner
    return ""
