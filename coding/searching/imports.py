"""Which files of a folder a file uses, by its import lines: Python, JavaScript and TypeScript."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

__all__ = ["ImportPaths", "imported_names"]

_PYTHON = re.compile(
    r"^[ \t]*from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]+)|^[ \t]*import[ \t]+([\w., \t]+)",
    re.MULTILINE,
)
_SCRIPT = re.compile(r"""(?:\bfrom|\bimport|\brequire\()\s*["'](\.[^"'\n]+)["']""")
_SCRIPT_ENDS = (".ts", ".tsx", ".js", ".jsx", ".mts", ".mjs", ".cjs", "/index.ts", "/index.js", "")


def imported_names(path: str, text: str) -> list[str]:
    """Return what a file imports: `pkg.mod` and `pkg.mod.name`, relative ones and paths with their dots."""
    if path.endswith((".py", ".pyi", ".pyx")):
        return list(_python(text))
    if path.endswith((".ts", ".tsx", ".js", ".jsx", ".mts", ".mjs", ".cjs", ".vue", ".svelte")):
        return ["/" + target for target in _SCRIPT.findall(text)]
    return []


def _python(text: str) -> Iterator[str]:
    for dots, module, names, plain in _PYTHON.findall(text):
        if plain:
            yield from (part.split()[0] for part in plain.split(",") if part.strip())
            continue
        yield dots + module
        for part in names.strip("()").replace("\n", " ").split(","):
            if part.strip():
                yield f"{dots}{module}{'.' if module else ''}{part.split()[0]}"


class ImportPaths:
    """Finds the files that imports mean, among the paths of a folder."""

    def __init__(self, paths: Collection[str]) -> None:
        self._paths = set(paths)
        self._modules: dict[str, set[str]] = {}
        for path in paths:
            if path.endswith((".py", ".pyi", ".pyx")):
                parts = path.rpartition(".")[0].split("/")
                parts = parts[:-1] if parts[-1] == "__init__" else parts
                for place in range(len(parts)):
                    self._modules.setdefault(".".join(parts[place:]), set()).add(path)

    def of(self, path: str, names: Iterable[str]) -> set[str]:
        """Return the files that a file's imports mean; what lies elsewhere, or is not clear, is left out."""
        targets = {target for name in names if (target := self._one(path, name))}
        return targets - {path}

    def graph(self, names: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
        """Return the files that each file uses."""
        return {path: self.of(path, imported) for path, imported in names.items()}

    def _one(self, path: str, name: str) -> str | None:
        if name.startswith("/"):
            stem = posixpath.normpath(posixpath.join(posixpath.dirname(path), name[1:]))
            stems = (stem, re.sub(r"\.[cm]?js$", "", stem))
            return next((s + end for s in stems for end in _SCRIPT_ENDS if s + end in self._paths), None)
        if name.startswith("."):
            inner = name.lstrip(".")
            folders = path.split("/")[:-1]
            above = len(name) - len(inner) - 1
            base = folders[: len(folders) - above] + [part for part in inner.split(".") if part]
            stem = "/".join(base)
            return next(
                (s for s in (f"{stem}.py", f"{stem}/__init__.py", f"{stem}.pyi") if s in self._paths), None
            )
        files = self._modules.get(name, set())
        return next(iter(files)) if len(files) == 1 else None
