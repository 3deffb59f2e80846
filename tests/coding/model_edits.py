"""Random edits of a text, and the forms in which models write them: not the inverse of how they are applied.

A reader must be able to tell the place, so context grows until the lines before a change, and those after it,
stand once in the file. Everything else is as models do it: how much context, which marks, which indentation.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

MARKS = {
    "py": ("# {}",),
    "pyi": ("# {}",),
    "toml": ("# {}",),
    "yaml": ("# {}",),
    "yml": ("# {}",),
    "sh": ("# {}",),
    "js": ("// {}", "/* {} */"),
    "ts": ("// {}", "/* {} */"),
    "json": ("// {}", "..."),
    "css": ("/* {} */",),
    "md": ("<!-- {} -->", "..."),
    "html": ("<!-- {} -->",),
    "txt": ("...", "# {}"),
    "rst": (".. {}", "..."),
}
WORDS = (
    "... existing code ...",
    "... rest of code ...",
    "...",
    "... (unchanged) ...",
    "existing code",
    "... other methods ...",
    "rest of the file unchanged",
    "… existing code …",
    "... keep existing imports ...",
)
NEW = {
    "json": ['"added": {n},', '"other": ["{n}"],'],
    "toml": ["added_{n} = {n}", "# note {n}", 'name_{n} = "x"'],
    "yaml": ["added_{n}: {n}", "# note {n}"],
    "yml": ["added_{n}: {n}", "# note {n}"],
    "md": ["A new paragraph, number {n}.", "- point {n}", "## Part {n}"],
    "txt": ["A new line, number {n}."],
    "rst": ["A new line, number {n}."],
    "html": ["<p>new {n}</p>"],
    "css": [".new-{n} {{ color: red; }}"],
}
CODE = ["value_{n} = compute({n})", "log_event('{n}')", "assert value_{n} is not None", "# note {n}"]


@dataclass(frozen=True)
class Change:
    """Lines `start` to `end` (excluded) become `lines`."""

    start: int
    end: int
    lines: list[str]


def indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def changed(lines: list[str], changes: list[Change]) -> list[str]:
    out, done = [], 0
    for change in changes:
        out += lines[done : change.start] + change.lines
        done = change.end
    return out + lines[done:]


def random_changes(rnd: random.Random, lines: list[str], suffix: str) -> list[Change]:
    """One to three edits apart from each other: lines added, deleted, replaced, renamed, copied, indented."""
    changes: list[Change] = []
    for _ in range(rnd.choice((1, 1, 1, 2, 3))):
        at = rnd.randrange(1, max(2, len(lines) - 1))
        change = _one(rnd, lines, suffix, at)
        if change and not any(
            change.start < other.end + 2 and other.start < change.end + 2 for other in changes
        ):
            changes.append(change)
    changes.sort(key=lambda change: change.start)
    return changes


def _one(rnd: random.Random, lines: list[str], suffix: str, at: int) -> Change | None:
    kind = rnd.choice(("add", "add", "delete", "replace", "rename", "copy", "indent", "function"))
    size = rnd.choice((1, 1, 2, 3, 6, 12))
    end = min(len(lines) - 1, at + size)
    old = lines[at:end]
    if kind == "add":
        return Change(
            at, at, _new(rnd, suffix, indent(lines[at]) if lines[at].strip() else indent(lines[at - 1]))
        )
    if kind == "delete":
        return Change(at, end, []) if any(line.strip() for line in old) else None
    if kind == "replace":
        return Change(at, end, _new(rnd, suffix, indent(lines[at])))
    if kind == "rename":
        names = re.findall(r"\b[A-Za-z_]{4,}\b", "\n".join(old))
        if not names:
            return None
        name = rnd.choice(names)
        return Change(
            at, end, [re.sub(rf"\b{name}\b", name + rnd.choice(("_new", "2", "s")), line) for line in old]
        )
    if kind == "copy":  # an edited copy of what stands there, as in tests and tables
        copied = [re.sub(r"(\w{4,})", r"\1_copy", line, count=1) for line in old]
        return Change(end, end, copied) if any(line.strip() for line in copied) else None
    if kind == "indent":
        return Change(at, end, ["    " + line if line.strip() else line for line in old])
    pad = indent(lines[at])
    number = rnd.randrange(10_000)
    if suffix in ("js", "ts"):
        body = [f"function added{number}(x) {{", f"  return x + {number};", "}", ""]
    elif suffix in ("py", "pyi"):
        body = [f"def added_{number}(x):", f"    return x + {number}", ""]
    else:
        return None
    if any(line.startswith("\t") for line in lines):
        body = [re.sub("^ +", "\t", line) for line in body]
    return Change(at, at, [pad + line if line else "" for line in body])


def _new(rnd: random.Random, suffix: str, pad: str) -> list[str]:
    texts = NEW.get(suffix, CODE)
    return [pad + rnd.choice(texts).format(n=rnd.randrange(10_000)) for _ in range(rnd.choice((1, 1, 2, 4)))]


def occurrences(lines: list[str], block: list[str]) -> int:
    wanted = [line.strip() for line in block if line.strip()]
    text = [line.strip() for line in lines if line.strip()]
    size = len(wanted)
    return sum(text[at : at + size] == wanted for at in range(len(text) - size + 1)) if size else 0


def contexts(
    rnd: random.Random, lines: list[str], changes: list[Change], least: int
) -> list[tuple[int, int, list[Change]]] | None:
    """The parts of a snippet: each change with lines round it, until a reader can tell its place; or None."""
    parts: list[tuple[int, int, list[Change]]] = []
    for change in changes:
        for count in range(least, least + 6):
            start, end = _reach(lines, change.start, -count), _reach(lines, change.end, count)
            before, after = lines[start : change.start], lines[change.end : end]
            if not any(line.strip() for line in before) or not any(line.strip() for line in after):
                return None
            if occurrences(lines, before) == 1 and occurrences(lines, after) == 1:
                break
        else:
            return None
        if parts and start <= parts[-1][1]:
            parts[-1] = (parts[-1][0], max(end, parts[-1][1]), [*parts[-1][2], change])
        else:
            parts.append((start, end, [change]))
    return parts


def _reach(lines: list[str], at: int, count: int) -> int:
    """The line so many filled lines before or after a line."""
    step, left = (1 if count > 0 else -1), abs(count)
    while left and 0 <= at + (0 if step > 0 else -1) < len(lines):
        number = at if step > 0 else at - 1
        left -= bool(lines[number].strip())
        at += step
    return at


def marked_snippet(
    rnd: random.Random, lines: list[str], parts: list[tuple[int, int, list[Change]]], suffix: str
) -> list[str]:
    """A snippet with marks between its parts, indented in one of the ways of models."""
    form = rnd.choice(MARKS.get(suffix, ("# {}",)))
    style = rnd.choice(("next", "next", "left", "previous"))
    one_word = rnd.choice(WORDS) if rnd.random() < 0.7 else ""
    out: list[str] = []
    done = 0

    def mark(at: int) -> str:
        nearby = (
            [line for line in lines[at : at + 5] if line.strip()] if style == "next" else lines[at - 1 : at]
        )
        pad = "" if style == "left" or not nearby else indent(nearby[0])
        return pad + form.replace("{}", one_word or rnd.choice(WORDS))

    for number, (start, end, inside) in enumerate(parts):
        skipped = any(line.strip() for line in lines[done:start])
        if skipped and (number or rnd.random() < 0.85):
            out += [mark(start)] if rnd.random() < 0.8 else ["", mark(start), ""]
        elif not skipped:
            out += lines[done:start]
        at = start
        for change in inside:
            out += lines[at : change.start] + change.lines
            at = change.end
        out += lines[at:end]
        done = end
    if any(line.strip() for line in lines[done:]) and rnd.random() < 0.85:
        out.append(mark(done))
    margin = min((len(indent(line)) for line in out if line.strip()), default=0)
    if margin and rnd.random() < 0.2 and not any("\t" in indent(line) for line in out):
        out = [line[margin:] if line.strip() else "" for line in out]
    if rnd.random() < 0.1:  # blanks at the ends of some lines that stay
        new = {line.strip() for _, _, inside in parts for change in inside for line in change.lines}
        stay = {line.strip() for line in lines} - new - {""}
        out = [line + " " * (line.strip() in stay and rnd.random() < 0.1) for line in out]
    return out


def blocks_snippet(lines: list[str], parts: list[tuple[int, int, list[Change]]]) -> list[str]:
    out: list[str] = []
    for start, end, inside in parts:
        new = changed(lines[:end], inside)[start:]
        out += ["<<<<<<< SEARCH", *lines[start:end], "=======", *new, ">>>>>>> REPLACE", ""]
    return out


def diff_snippet(
    rnd: random.Random, lines: list[str], parts: list[tuple[int, int, list[Change]]], name: str
) -> list[str]:
    """A unified diff whose line numbers and counts are wrong half of the time."""
    out = [f"--- a/{name}", f"+++ b/{name}"] if rnd.random() < 0.7 else []
    for start, end, inside in parts:
        body: list[str] = []
        at = start
        for change in inside:
            body += [" " + line for line in lines[at : change.start]]
            body += ["-" + line for line in lines[change.start : change.end]] + [
                "+" + line for line in change.lines
            ]
            at = change.end
        body += [" " + line for line in lines[at:end]]
        if rnd.random() < 0.2:
            body = ["" if line == " " else line for line in body]
        where = start + 1 + (rnd.randrange(-30, 30) if rnd.random() < 0.5 else 0)
        count = len(body) + (rnd.randrange(3) if rnd.random() < 0.5 else 0)
        out += [rnd.choice((f"@@ -{max(1, where)},{count} +{max(1, where)},{count} @@", "@@ ... @@")), *body]
    return out
