"""Adding a case to a suite's file: a piece of text at its place, and not another character changed."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...state.errors import InputError
from ..suite.model import Suite, digest
from .located import INSTALL_HELP, from_jsonl, from_yaml, read_text
from .suite_file import suite_from

WIDTH = 110


def append_case(path: Path, case: Mapping[str, Any], graph: str | None = None) -> tuple[str, Suite]:
    """Return a suite's text with one more case, and the suite that it says. A missing file is begun.

    Comments and formatting stay as they are. Raises InputError for a case that the suite has already,
    by its id or its input, and for a file in which there is no place to add one.
    """
    if path.suffix not in (".yaml", ".yml", ".jsonl"):
        raise InputError(f"{path} is no suite that a case can be added to: a .yaml, .yml or .jsonl file.")
    lines = path.suffix == ".jsonl"
    if not path.exists():
        text = _begun(path, case, graph, lines)
        return text, _suite(text, path, lines)
    text = read_text(path, "The suite")
    before = _suite(text, path, lines)
    _refuse_twice(before, case)
    longer = _longer_lines(text, case) if lines else _longer_yaml(text, case, path)
    after = _suite(longer, path, lines)
    if [c.digest for c in after.cases[:-1]] != [c.digest for c in before.cases]:
        raise InputError(f"{path}: the case cannot be added without changing others. Add it by hand.")
    return longer, after


def write_suite(path: Path, text: str) -> None:
    """Write a suite's file whole, or leave it as it was."""
    try:
        with tempfile.NamedTemporaryFile("wb", dir=path.absolute().parent, delete=False) as file:
            file.write(text.encode("utf-8"))
        if path.exists():
            shutil.copymode(path, file.name)
        Path(file.name).replace(path)
    except OSError as error:
        raise InputError(f"The suite {str(path)!r} cannot be written: {error}.") from None


def _suite(text: str, path: Path, lines: bool) -> Suite:
    text = text.removeprefix("\ufeff")
    return suite_from(from_jsonl(text, str(path)) if lines else from_yaml(text, str(path)), path)


def _refuse_twice(suite: Suite, case: Mapping[str, Any]) -> None:
    for known in suite.cases:
        if known.id == case["id"]:
            raise InputError(
                f"{suite.source} has a case {known.id!r} already, on line {known.line}. Give it another id."
            )
        if digest(known.input) == digest(case["input"]):
            raise InputError(
                f"{suite.source} has this input already: the case {known.id!r}, line {known.line}."
            )


def _begun(path: Path, case: Mapping[str, Any], graph: str | None, lines: bool) -> str:
    name = path.name.removesuffix(path.suffix).removesuffix(".eval")
    head = {"suite": name, **({"graph": graph} if graph else {})}
    if lines:
        return f"{json.dumps(head)}\n{json.dumps(case, ensure_ascii=False)}\n"
    return "".join(_dumped({name: value}, flow=False) for name, value in head.items()) + (
        f"\ncases:\n{_item(case, 2)}"
    )


def _longer_lines(text: str, case: Mapping[str, Any]) -> str:
    end = "\r\n" if "\r\n" in text else "\n"
    gap = "" if not text or text.endswith("\n") else end
    return f"{text}{gap}{json.dumps(case, ensure_ascii=False)}{end}"


def _longer_yaml(text: str, case: Mapping[str, Any], path: Path) -> str:
    import yaml

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    cases = next((value for name, value in root.value if name.value == "cases"), None)
    if cases is None or cases.flow_style:
        raise InputError(
            f"{path}: the cases stand in brackets. Write each on a line of its own, with a dash."
        )
    place = _end(cases.value[-1])
    while place < len(text) and text[place - 1] != "\n":
        place += 1
    head = text[:place] if text[place - 1] == "\n" else f"{text}\n"
    item = _item(case, cases.start_mark.column)
    if "\r\n" in text:
        head, item = (head[:-1] + "\r\n" if head != text[:place] else head), item.replace("\n", "\r\n")
    return head + item + text[place:]


def _end(node: Any) -> int:
    """Return where a node's last character stands, without the comments and blank lines after it."""
    if isinstance(node.value, list) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _item(case: Mapping[str, Any], indent: int) -> str:
    lines = _dumped(case).splitlines()
    rest = [f"{' ' * (indent + 2)}{line}" if line else "" for line in lines[1:]]
    return "\n".join([f"{' ' * indent}- {lines[0]}", *rest]) + "\n"


def _dumped(data: Mapping[str, Any], flow: bool | None = None) -> str:
    try:
        import yaml
    except ImportError:
        raise InputError(f"Suites in YAML need pyyaml. {INSTALL_HELP}") from None

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]
        pass

    def text_of(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text_of)
    dumped: str = yaml.dump(
        dict(data), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=WIDTH, default_flow_style=flow
    )
    return dumped
