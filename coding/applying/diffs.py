"""Unified diffs as models write them: line numbers and counts may be wrong, the lines count."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ...state.errors import ApplyRefused
from .hunks import KEEP, NEW, OLD, Hunk, merge_hunks
from .text_lines import split_lines, split_snippet
from .writing import Merged

RANGE = re.compile(r"^@@+(?: *-(\d+)(?:,(\d+))? +\+(\d+)(?:,(\d+))? *@@+)?(.*)$")
FILE = re.compile(r"^\*\*\* (Update|Add|Delete) File: (.+)$")


@dataclass(slots=True)
class FilePatch:
    """What a diff says of one file. An empty name means that the diff did not say."""

    old: str
    new: str
    hunks: list[Hunk] = field(default_factory=list)
    added: bool = False
    deleted: bool = False


def has_diff(snippet: str) -> bool:
    """Tell whether a text is a diff: it has hunk headers, or the header of a file."""
    lines = split_snippet(snippet)
    for at, line in enumerate(lines):
        following = lines[at + 1] if at + 1 < len(lines) else ""
        if FILE.match(line) or (line.startswith("--- ") and following.startswith("+++ ")):
            return True
        if line.startswith("@@") and RANGE.match(line) and re.match(r"[ +\-\\]|$", following):
            return any(re.match(r"[+-]", later) for later in lines[at + 1 :])
    return False


def merge_diff(path: str, text: str, snippet: str) -> Merged:
    """Apply a diff of one file."""
    patches = read_diff(snippet)
    if len(patches) != 1:
        raise ApplyRefused(
            f"the diff changes {len(patches)} files", hint="apply it with apply_all, to all of them or none"
        )
    return merge_patch(path, text, patches[0])


def merge_patch(path: str, text: str, patch: FilePatch) -> Merged:
    if patch.added and not text.strip():
        new = [line for hunk in patch.hunks for kind, line in hunk.lines if kind == NEW]
        bare = any(hunk.ends_bare for hunk in patch.hunks)
        return Merged("\n".join(new) + ("" if bare or not new else "\n"), tuple(new))
    if not patch.hunks:
        raise ApplyRefused("the diff has no hunk", hint="give the changed lines below a line @@")
    return merge_hunks(path, split_lines(text), patch.hunks, ordered=True)


def read_diff(snippet: str) -> list[FilePatch]:
    """The files of a diff, with their hunks."""
    patches: list[FilePatch] = []
    body: list[tuple[str, str]] = []
    where: tuple[int, str] | None = None  # of the hunk that is read
    bare: bool | None = None
    lines = split_snippet(snippet)

    def close() -> None:
        nonlocal body, where, bare
        if where is not None:
            while body and body[-1] == (KEEP, ""):
                body.pop()
            if any(kind != KEEP for kind, _ in body):
                patches[-1].hunks.append(Hunk(tuple(body), *where, ends_bare=bare))
            elif body and where == (0, ""):  # "@@ def name" alone, and the hunk below it
                pass
        body, where, bare = [], None, None

    at = 0
    while at < len(lines):
        line = lines[at]
        following = lines[at + 1] if at + 1 < len(lines) else ""
        at += 1
        named = FILE.match(line)
        if line.startswith("--- ") and following.startswith("+++ "):
            close()
            old, new = _name(line[4:]), _name(following[4:])
            patches.append(FilePatch(old, new, added=old == "/dev/null", deleted=new == "/dev/null"))
            at += 1
        elif named:
            close()
            name = named[2].strip()
            patches.append(FilePatch(name, name, added=named[1] == "Add", deleted=named[1] == "Delete"))
            where = (0, "") if named[1] == "Add" else None
        elif line.startswith("@@") and (match := RANGE.match(line)):
            close()
            if not patches:
                patches.append(FilePatch("", ""))
            where = (int(match[1] or 0), match[5].strip())
        elif re.match(
            r"diff --git |index [0-9a-f]{7}|\*\*\* |(?:new|deleted) file mode |rename (?:from|to) |```", line
        ):
            if line.startswith("rename "):
                raise ApplyRefused("the diff renames a file", hint="rename it first, then give its changes")
            close()
        elif (
            where is None
            and patches
            and not patches[-1].hunks
            and line[:1] in ("+", "-", " ")
            and line.strip()
        ):
            where = (0, "")  # a file's header without @@
            at -= 1
        elif where is not None:
            if line.startswith("\\"):
                bare = _bare(body, bare)
            elif line[:1] in (NEW, OLD, KEEP):
                body.append((line[0], line[1:]))
            else:  # a model forgot the blank before a line that stays
                body.append((KEEP, line))
    close()
    return [patch for patch in patches if patch.hunks or patch.added or patch.deleted]


def _bare(body: list[tuple[str, str]], before: bool | None) -> bool | None:
    """What `\\ No newline at end of file` says, by the line above it."""
    kind = body[-1][0] if body else KEEP
    if kind == OLD:
        return False  # the old file has none; the new one has, unless a second such line follows
    return True if kind == NEW or before is None else before


def _name(text: str) -> str:
    name = text.split("\t")[0].strip().strip('"')
    return name[2:] if name[:2] in ("a/", "b/") else name
