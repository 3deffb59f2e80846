"""YAML and JSON lines as plain data that knows on which line each part stands. The adapter of pyyaml."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ...state.errors import InputError
from ...state.plain_files import read_plain

INSTALL_HELP = 'Install it with: pip install "stepgraph[evals]" (in a clone: ".[evals]")'
MAX_NODES = 500_000
PLAIN = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
TIMESTAMP = "tag:yaml.org,2002:timestamp"

Key = tuple[str | int, ...]


@dataclass
class Located:
    """Plain data, and the line (from 1) of each of its parts by the keys that lead to it."""

    file: str
    data: Any
    lines: dict[Key, int] = field(default_factory=dict)
    doubled: list[tuple[int, str]] = field(default_factory=list)

    def line(self, key: Sequence[str | int] = ()) -> int | None:
        """Return the line of a part, or of the nearest part around it that has one."""
        prefix = tuple(key)
        while prefix and prefix not in self.lines:
            prefix = prefix[:-1]
        return self.lines.get(prefix)


def read_located(path: Path) -> Located:
    """Read a .yaml, .yml or .jsonl file. Raises InputError that names the line."""
    text = read_text(path, "The suite")
    return from_jsonl(text, str(path)) if path.suffix == ".jsonl" else from_yaml(text, str(path))


def read_text(path: Path, what: str, *, piped: bool = False) -> str:
    """Return a file's text, without a byte order mark. Raises InputError that says what the file is.

    Only what a person named may be `piped`: another's pipe would wait for ever.
    """
    try:
        data = path.read_bytes() if piped else read_plain(path)
        return data.decode("utf-8").removeprefix("\ufeff")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{what} {str(path)!r} cannot be read: {error}.") from None


def opened(path: Path, what: str) -> BinaryIO:
    """Open a file to read its bytes. Raises InputError that says what the file is."""
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{what} {str(path)!r} cannot be read: {error}.") from None


def json_lines(text: str, file: str) -> Iterator[tuple[int, Any]]:
    """Yield the data on each line that is not blank, with the line's number."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{file}, line {number}: not JSON that can be read: {error}.") from None


def from_jsonl(text: str, file: str) -> Located:
    """Read JSON lines: the suite's own keys on the first, then a case on each."""
    located = Located(file, {"cases": []})
    for number, row in json_lines(text, file):
        if isinstance(row, dict) and "suite" in row and not located.lines:
            located.data = {**row, "cases": []}
            located.lines[()] = number
            continue
        located.lines.setdefault((), number)
        located.lines["cases", len(located.data["cases"])] = number
        located.data["cases"].append(row)
    return located


def from_yaml(text: str, file: str) -> Located:
    """Read YAML. Dates stay text, as in JSON. Raises InputError that names line and column."""
    try:
        import yaml
    except ImportError:
        raise InputError(f"Suites in YAML need pyyaml. {INSTALL_HELP}") from None
    try:
        loader = yaml.SafeLoader(text)
    except yaml.YAMLError as error:  # a character that YAML does not know
        raise InputError(f"{file}: {' '.join(str(error).split())}.") from None
    try:
        root = loader.get_single_node()
        if root is None:
            raise InputError(f"{file} is empty. Expected a suite: suite, graph and cases.")
        located = Located(file, None)
        located.data = _YamlReader(loader, located).read(root, ())
        return located
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        wrong = error.problem or error.context or ""
        taken_apart = "expected ','" in wrong or "mapping values" in wrong
        quote = " Text with ? : , # or brackets in it needs quotes." if taken_apart else ""
        raise InputError(f"{file}{place}: {wrong}.{quote}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{file}: {error}.") from None
    except RecursionError:
        raise InputError(f"{file} is nested too deeply.") from None
    finally:
        loader.dispose()


class _YamlReader:
    def __init__(self, loader: Any, located: Located) -> None:
        self._loader = loader
        self._located = located
        self._count = 0
        self._open: set[int] = set()

    def read(self, node: Any, key: Key) -> Any:
        import yaml

        line = node.start_mark.line + 1
        self._located.lines.setdefault(key, line)
        self._count += 1
        if self._count > MAX_NODES or id(node) in self._open:
            raise InputError(f"{self._located.file}, line {line}: aliases make the suite endless.")
        if isinstance(node, yaml.ScalarNode):
            return node.value if node.tag == TIMESTAMP else self._loader.construct_object(node)
        if node.tag not in PLAIN:
            raise InputError(
                f"{self._located.file}, line {line}: a suite is plain data, without {node.tag!r}."
            )
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.read(item, (*key, number)) for number, item in enumerate(node.value)]
            own = [name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode)]
            self._loader.flatten_mapping(node)
            data: dict[Any, Any] = {}
            for name_node, value in node.value:
                name = self._loader.construct_object(name_node, deep=True)
                where = name_node.start_mark.line + 1
                if not isinstance(name, (str, int)):
                    raise InputError(f"{self._located.file}, line {where}: {name!r} is no name of a field.")
                if name in data and own.count(name_node.value) > 1:
                    self._located.doubled.append((where, str(name)))
                self._located.lines[*key, name] = where
                data[name] = self.read(value, (*key, name))
            return data
        finally:
            self._open.discard(id(node))
