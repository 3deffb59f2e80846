"""What the shipped suites on code measure in code. All values are plain, as JSON has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def tests_pass(report: Mapping[str, Any] | None) -> tuple[float, str]:
    """Give the share of a project's tests that pass."""
    if report is None:
        return 0.0, "no test ran"
    total = report["passed"] + report["failed"]
    share = report["passed"] / total if total else float(report["ok"])
    return min(share, 1.0 if report["ok"] else 0.99), "" if report["ok"] else str(report["output"])[-200:]


def only_these_files(changed: Mapping[str, str | None] | None, expected: Sequence[str]) -> tuple[bool, str]:
    """Tell whether nothing but what is expected to change was changed."""
    other = sorted(set(changed or ()) - set(expected))
    return bool(changed) and not other, f"changed: {', '.join(changed or ()) or 'nothing'}"


def files_found(places: Sequence[Mapping[str, Any]], expected: Sequence[str]) -> tuple[float, str]:
    """Give the share of the expected files that a search found."""
    missing = [file for file in expected if file not in {place["file"] for place in places}]
    return 1 - len(missing) / len(expected), f"missing: {', '.join(missing)}" if missing else ""


def lines_found(
    places: Sequence[Mapping[str, Any]], values: Mapping[str, Any], expected: Mapping[str, Sequence[str]]
) -> tuple[float, str]:
    """Give the share of the expected lines, named by what they say, that lie in the found ranges."""
    wanted = [(file, text) for file, texts in expected.items() for text in texts]
    missing = [
        f"{file}: {text}"
        for file, text in wanted
        if not any(text in passage for passage in _texts_of(Path(values["folder"], file), file, places))
    ]
    return 1 - len(missing) / len(wanted), f"missing: {'; '.join(missing)}" if missing else ""


def _texts_of(path: Path, file: str, places: Iterable[Mapping[str, Any]]) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return ["\n".join(lines[place["start"] - 1 : place["end"]]) for place in places if place["file"] == file]


def lines_kept(context: str, expected: Sequence[str]) -> tuple[float, str]:
    """Give the share of the expected lines that a compression kept whole."""
    missing = [line for line in expected if line not in context.splitlines()]
    return 1 - len(missing) / len(expected), f"missing: {'; '.join(missing)}" if missing else ""


def is_verbatim(context: str, values: Mapping[str, Any]) -> tuple[bool, str]:
    """Tell whether every line that was kept stands in the project, apart from headings and line numbers."""
    folder = Path(values["folder"])
    known = {
        line
        for place in values["found"]
        for line in (folder / place["file"]).read_text(encoding="utf-8").splitlines()
    }
    strange = [line for line in context.splitlines() if line not in known and not line.startswith(("#", "@"))]
    return not strange, f"not in the files: {'; '.join(strange[:3])}"


def says_now(
    changed: Mapping[str, str | None] | None, expected: Mapping[str, Sequence[str]]
) -> tuple[bool, str]:
    """Tell whether just the expected files changed, and say what is expected of each."""
    now = changed or {}
    right = set(now) == set(expected) and all(
        text in (now[file] or "") for file, texts in expected.items() for text in texts
    )
    return right, f"changed: {', '.join(now) or 'nothing'}"


def refuses(refused: Sequence[Mapping[str, Any]] | None, expected: int) -> tuple[bool, str]:
    """Tell whether as many edits were refused as expected."""
    reasons = [str(each["reason"]) for each in refused or ()]
    return len(reasons) == expected, f"{len(reasons)} refused: {'; '.join(reasons)[:200]}"
