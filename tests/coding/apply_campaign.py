"""Random edits of files of installed packages, written as models write them: applied right, or refused.

python -m tests.coding.apply_campaign --cases 10000 --seed 1
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from stepgraph.coding import apply
from stepgraph.coding.applying.syntax import problem_in
from stepgraph.errors import ApplyRefused

from .model_edits import (
    Change,
    blocks_snippet,
    changed,
    contexts,
    diff_snippet,
    marked_snippet,
    random_changes,
)

PACKAGES = (
    *("click", "langgraph", "httpx", "pydantic", "yaml", "jinja2", "pytest", "_pytest", "rich", "openai"),
    *("streamlit", "langchain_core", "litellm", "numpy", "networkx", "bs4", "torch", "jedi"),
)
ENDINGS = ("py", "pyi", "json", "yaml", "yml", "toml", "md", "js", "ts", "css", "html", "txt", "rst")
LONGEST = 200_000


def files_of(folder: Path, names: tuple[str, ...] = PACKAGES) -> dict[str, list[Path]]:
    """The files of the packages that are there, by their endings."""
    found: dict[str, list[Path]] = {}
    for name in names:
        for path in sorted((folder / name).rglob("*")):
            suffix = path.suffix.lstrip(".")
            if suffix in ENDINGS and path.is_file() and 200 < path.stat().st_size < LONGEST:
                found.setdefault(suffix, []).append(path)
    for path in sorted(folder.rglob("*"), key=str) if len(found) < 6 else ():
        suffix = path.suffix.lstrip(".")
        if suffix in ENDINGS and suffix != "py" and path.is_file() and 200 < path.stat().st_size < LONGEST:
            found.setdefault(suffix, []).append(path)
    return found


def cases(
    rnd: random.Random, files: dict[str, list[Path]], count: int
) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield form, path, text, snippet, and the text that is right."""
    done = 0
    while done < count:
        suffix = rnd.choice([*files, "py", "py", "py"]) if "py" in files else rnd.choice([*files])
        path = rnd.choice(files[suffix])
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue
        case = one_case(rnd, path.name, text)
        if case:
            done += 1
            yield case


def one_case(rnd: random.Random, name: str, text: str) -> tuple[str, str, str, str, str] | None:
    """A random edit of a text in one of the forms, or None if a reader could not tell its place."""
    suffix = name.rpartition(".")[2]
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.split(newline)
    if len(lines) < 12 or any("\n" in line or "\r" in line for line in lines):
        return None
    changes = random_changes(rnd, lines, suffix)
    changes = [change for change in changes if _counts(lines, change)]
    if not changes:
        return None
    parts = contexts(rnd, lines, changes, rnd.choice((1, 2, 2, 3)))
    if not parts:
        return None
    if rnd.random() < 0.1:
        newline = "\r\n"
    old, new = "\n".join(lines), "\n".join(changed(lines, changes))
    if problem_in(name, new) and not problem_in(name, old):
        return None  # nobody writes an edit that breaks the file, and it would be refused
    form = rnd.choice(("marked", "marked", "marked", "blocks", "diff"))
    if form == "marked":
        snippet = marked_snippet(rnd, lines, parts, suffix)
    elif form == "blocks":
        snippet = blocks_snippet(lines, parts)
    else:
        snippet = diff_snippet(rnd, lines, parts, name)
    return form, name, newline.join(lines), "\n".join(snippet), newline.join(changed(lines, changes))


def _counts(lines: list[str], change: Change) -> bool:
    """Leave out what changes blank lines or the blanks at line ends only."""
    old = [line.rstrip() for line in lines[change.start : change.end] if line.strip()]
    return old != [line.rstrip() for line in change.lines if line.strip()]


def outcome(path: str, text: str, snippet: str, expected: str) -> str:
    try:
        merged = apply(path, text, snippet)
    except ApplyRefused as refused:
        return f"refused: {refused.reason}"
    if merged == expected:
        return "right"
    plain = [[line.rstrip() for line in one.split("\n") if line.strip()] for one in (merged, expected)]
    return "blanks" if plain[0] == plain[1] else "WRONG"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=3, help="Print so many wrong ones.")
    parser.add_argument("--json", help="Write the wrong ones here.")
    options = parser.parse_args()
    files = files_of(Path(sysconfig.get_path("purelib")))
    counted: dict[str, Counter[str]] = {}
    reasons: Counter[str] = Counter()
    wrong = []
    for form, path, text, snippet, expected in cases(random.Random(options.seed), files, options.cases):
        result = outcome(path, text, snippet, expected)
        suffix = path.rpartition(".")[2]
        for key in (form, suffix, "all"):
            counted.setdefault(key, Counter())[result.split(":")[0]] += 1
        if result.startswith("refused"):
            reasons[
                " ".join(word for word in re.sub(r"`.*?`", "`x`", result).split() if not word.isdigit())
            ] += 1
        if result in ("WRONG", "blanks"):
            wrong.append(
                {"path": path, "text": text, "snippet": snippet, "expected": expected, "result": result}
            )
            if result == "WRONG" and options.show > 0:
                options.show -= 1
                print("=" * 20, form, path, snippet, sep="\n")
    for key, results in sorted(counted.items()):
        print(f"{key:8}", dict(results))
    print(*(f"{count:6} {reason}" for reason, count in reasons.most_common(12)), sep="\n")
    if options.json:
        Path(options.json).write_text(json.dumps(wrong))
    return int(any(one["result"] == "WRONG" for one in wrong))


if __name__ == "__main__":
    sys.exit(main())
