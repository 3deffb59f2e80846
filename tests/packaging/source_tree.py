"""The source tree as the tests beside this file read it: its modules, and what each of them imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(link.name for link in (ROOT / "stepgraph").iterdir() if link.is_symlink())
FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def source_of(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def imports_of(source: str, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield line and absolute name of each import in a module of the package; relative ones begin with a dot.

    All imports count: at any depth, for type checkers only, and lazy ones, so that in cli/
    `import_module(f".commands.{name}")` is `.cli.commands.*`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                yield (
                    node.lineno,
                    _absolute(f"{module}.{alias.name}" if node.module else module + alias.name, package),
                )
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            pattern = _pattern(node.args[0])
            if pattern.startswith("."):
                yield node.lineno, _absolute(pattern, package)


def _absolute(name: str, package: tuple[str, ...]) -> str:
    level = len(name) - len(name.lstrip("."))
    if not level:
        return name
    return ".".join(("", *package[: len(package) - level + 1], name[level:]))


def _pattern(text: ast.expr) -> str:
    """Return a text with a * for each part that is filled in at run time."""
    if isinstance(text, ast.JoinedStr):
        return "".join(_pattern(part) for part in text.values)
    return str(text.value) if isinstance(text, ast.Constant) else "*"
