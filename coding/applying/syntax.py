"""Whether a text still parses as it did before an edit, where a parser is at hand."""

from __future__ import annotations

import json
import tomllib
from importlib import import_module
from typing import Any

from ...state.errors import ApplyRefused
from ..outlines.tree_sitter import parser_for
from ..python_syntax import parse_python

# Checked by a grammar of tree-sitter, where it is installed.
BY_GRAMMAR = frozenset(
    ["bash", "c", "cc", "cjs", "cpp", "cs", "css", "cts", "cxx", "go", "h", "hpp", "java"]
) | {*("js", "jsx", "mjs", "mts", "php", "rb", "rs", "sh", "ts", "tsx")}


BROKEN = "the file would not parse any more"


def check_syntax(path: str, before: str, after: str) -> None:
    """Refuse an edit that breaks a text which parsed before."""
    problem = problem_in(path, after)
    if problem and not problem_in(path, before):
        raise ApplyRefused(
            f"{BROKEN}: {problem}",
            hint="give the whole statement or block that changes, with unchanged lines before and after it",
        )


def problem_in(path: str, text: str) -> str:
    """What keeps a text from being parsed, or nothing: also where no parser for it is at hand."""
    suffix = path.rpartition(".")[2].lower()
    text = text.removeprefix("\ufeff")
    try:
        if suffix in ("py", "pyi", "pyw"):
            parse_python(text)
        elif suffix == "json":
            json.loads(text)
        elif suffix == "toml":
            tomllib.loads(text)
        elif suffix in ("yaml", "yml"):
            return _yaml_problem(text)
        elif suffix in BY_GRAMMAR:
            return _tree_problem(suffix, text)
    except SyntaxError as error:
        return f"{error.msg} in line {error.lineno}"
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""


def _yaml_problem(text: str) -> str:
    try:
        yaml: Any = import_module("yaml")
    except ImportError:
        return ""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for _ in yaml.compose_all(text, Loader=loader):
            pass
    except yaml.YAMLError as error:
        return " ".join(str(error).split())[:120]
    return ""


def _tree_problem(suffix: str, text: str) -> str:
    parser = parser_for("." + suffix)
    if parser is None:
        return ""
    tree = parser.parse(text.encode("utf-8", "surrogatepass"))
    node = tree.root_node
    if not node.has_error:
        return ""
    while True:
        wrong = next((child for child in node.children if child.has_error or child.is_missing), None)
        if wrong is None or node.type == "ERROR":
            return f"{node.type if node.is_missing else 'syntax error'} in line {node.start_point[0] + 1}"
        node = wrong
