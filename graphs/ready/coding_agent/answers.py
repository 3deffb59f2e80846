"""What a model's answer asks for: blocks with changes, files to delete and files to rename."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ....state.serde import allow

MAX_EDITS = 40
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([^\n`]*)$")
_NAMED = re.compile(r"^(?:file|path|title|filename)\s*[:=]\s*", re.IGNORECASE)
_PATH = re.compile(r"[^\s`*<>|:\"]+(?:[/.][^\s`*<>|:\"]+)+|Makefile|Dockerfile")
_DELETED = re.compile(r"#{1,6} +(?:delete|remove) +`?([^\s`]+)`?", re.IGNORECASE)
_RENAMED = re.compile(r"#{1,6} +(?:rename|move) +`?([^\s`]+)`? +(?:->|→|to) +`?([^\s`]+)`?", re.IGNORECASE)
_NONE = "/dev/null"


@dataclass(frozen=True)
class Edit:
    """One thing that an answer asks for: to change a file, to delete it, or to rename it to `to`."""

    file: str
    snippet: str
    kind: Literal["change", "delete", "rename"] = "change"
    to: str = ""


allow(Edit)


def edits_in(answer: str) -> list[Edit]:
    """Return the edits of an answer: its fenced blocks, each with the file that is named above or in it.

    A line `### delete path`, or `### rename old -> new`, outside of them says what needs no block.
    """
    edits: list[Edit] = []
    above = fence = info = ""
    block: list[str] = []
    for line in answer.splitlines(keepends=True):
        match = _FENCE.match(line.rstrip("\r\n"))
        if not fence:
            if match:
                fence, info, block = match[1], match[2].strip(), []
            elif line.strip():
                edits += _without_block(line.strip())
                above = line
        elif match and match[1].startswith(fence) and not match[2].strip():
            edits += _edits(above, info, "".join(block))
            fence = ""
        else:
            block.append(line)
    if fence and block:  # an answer that was cut off
        edits += _edits(above, info, "".join(block))
    return edits[:MAX_EDITS]


def edits_of_diff(diff: str) -> list[Edit]:
    """Return the edits of a unified diff of several files, with those that it deletes and renames."""
    return [edit for part in _parts(diff) for edit in _of_part(part)]


def _without_block(line: str) -> list[Edit]:
    if match := _DELETED.fullmatch(line):
        return [Edit(_own(match[1]), "", "delete")]
    if match := _RENAMED.fullmatch(line):
        return [Edit(_own(match[1]), "", "rename", _own(match[2]))]
    return []


def _edits(above: str, info: str, snippet: str) -> list[Edit]:
    if snippet.lstrip().startswith(("--- ", "diff --git ")) and (edits := edits_of_diff(snippet)):
        return edits
    if _DELETED.fullmatch(above.strip()):  # what is deleted has no new lines
        return [Edit("", snippet)]
    for text in (info.partition(" ")[2], info, above):
        words = _NAMED.sub("", text.strip().strip("#*` \t:"))
        found_path = _RENAMED.fullmatch(text.strip())
        if found_path:  # a block below it changes the file that it makes
            return [Edit(_own(found_path[2]), snippet)]
        path = _PATH.search(words)
        if path:
            return [Edit(_own(path[0].rstrip(":,")), snippet)]
    return [Edit("", snippet)]


def _own(path: str) -> str:
    return path.removeprefix("./")


def _parts(diff: str) -> list[str]:
    """Cut a diff into those of single files: at `diff --git`, or at `---` that follows no such line."""
    parts: list[list[str]] = [[]]
    lines = diff.splitlines(keepends=True)
    in_head = False
    for place, line in enumerate(lines):
        following = lines[place + 1] if place + 1 < len(lines) else ""
        begins = line.startswith("--- ") and following.startswith("+++ ")
        if line.startswith("diff --git ") or (begins and not in_head):
            parts.append([])
        if line.startswith("diff --git "):
            in_head = True
        elif begins:
            in_head = False
        parts[-1].append(line)
    return ["".join(part) for part in parts if "".join(part).strip()]


def _of_part(part: str) -> list[Edit]:
    head = re.split(r"^@@", part, maxsplit=1, flags=re.MULTILINE)[0]
    heads: dict[str, str] = {}
    for mark, name in re.findall(r"^(---|\+\+\+|rename from|rename to) ([^\t\n]+)", head, re.MULTILINE):
        heads.setdefault(mark, name.strip())
    git = re.match(r"diff --git a/(\S+) b/(\S+)", part)
    old = heads.get("rename from") or _name(heads.get("---", "")) or (git[1] if git else "")
    new = heads.get("rename to") or _name(heads.get("+++", "")) or (git[2] if git else "")
    if new == _NONE or re.search(r"^deleted file mode", head, re.MULTILINE):
        return [Edit(old, part, "delete")]
    hunks = re.sub(r"^(?:rename (?:from|to)|similarity index) .*\n", "", part, flags=re.MULTILINE)
    changes = [Edit(new, hunks)] if "@@" in part or "---" in heads else []
    if old not in (_NONE, new, "") and new:
        return [Edit(old, "", "rename", new), *changes]
    if not changes and re.search(r"^new file mode", head, re.MULTILINE):
        return [Edit(new, "", "change")]
    return changes or [Edit("", part)]


def _name(text: str) -> str:
    name = text.strip().strip('"')
    return name[2:] if name[:2] in ("a/", "b/") else name
