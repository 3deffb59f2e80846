"""Merge what a model wrote of a file's change into the file, or refuse: never guess."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from ...state.errors import ApplyRefused
from .blocks import has_blocks, merge_blocks
from .diffs import FilePatch, has_diff, merge_diff, merge_patch, read_diff
from .marked import merge_marked
from .marks import is_bare_mark, is_mark
from .syntax import BROKEN, check_syntax
from .text_lines import BOM, split_lines, split_snippet
from .writing import Merged

FENCE = re.compile(r"^ {0,3}(?:`{3,}|~{3,})", re.MULTILINE)
FORMS = ("blocks", "diff", "marked", "whole")


def apply(path: str, text: str, snippet: str) -> str:
    """Return a file's text with an edit merged into it.

    `snippet` is what a model wrote: new code between unchanged lines, with marks for what stays
    (`# ... existing code ...`), search/replace blocks, or a unified diff of this file. `path` tells the
    language. What does not fit, fits at two places, changes nothing, or breaks a file that parsed, raises
    `ApplyRefused`. Line ends, tabs, byte order mark and the end of the file stay as they are.
    """
    snippet = unfenced(path, snippet, text)
    form = form_of(text, snippet)
    if form == "blocks":
        merged = merge_blocks(path, text, snippet)
    elif form == "diff":
        merged = merge_diff(path, text, snippet)
    elif form == "whole":
        merged = Merged(_whole(text, snippet), ())
    else:
        merged = merge_marked(path, text, snippet)
        try:
            return checked(path, text, merged.text, form)
        except ApplyRefused as refused:
            return _without_slips(path, text, snippet, refused)
    return checked(path, text, merged.text, form)


def _without_slips(path: str, text: str, snippet: str, refused: ApplyRefused) -> str:
    """Merge where lines that are nearly the file's are the file's: if only so it parses, they were slips."""
    if not refused.reason.startswith(BROKEN):
        raise refused
    try:
        return checked(path, text, merge_marked(path, text, snippet, slips=True).text, "marked")
    except ApplyRefused:
        raise refused from None


def checked(path: str, text: str, merged: str, form: str) -> str:
    if merged == text:
        raise unchanged(form)
    check_syntax(path, text, merged)
    return merged


def unchanged(form: str) -> ApplyRefused:
    if form in ("marked", "whole"):
        return ApplyRefused(
            "already applied: the file has all lines of the snippet where it puts them",
            hint="read the file again if it should change",
        )
    return ApplyRefused("noop: the edit changes nothing", hint="give new lines that differ from the old ones")


def form_of(text: str, snippet: str) -> str:
    """Tell how an edit is written: `blocks`, `diff`, `marked`, or `whole`, a new text for an empty file."""
    if has_blocks(snippet):
        return "blocks"
    if has_diff(snippet):
        return "diff"
    if not snippet.strip():
        raise ApplyRefused("the snippet is empty", hint="give the new lines with lines around them")
    if not text.strip():
        if any(is_mark(line) or is_bare_mark(line) for line in split_snippet(snippet)):
            raise ApplyRefused("the file is empty, so that nothing can stay", hint="give the whole text")
        return "whole"
    return "marked"


def unfenced(path: str, snippet: str, text: str = "") -> str:
    """A snippet without the code fence, and the words round it, that a model put there."""
    if path.lower().endswith((".md", ".markdown", ".mdx", ".rst")) or FENCE.search(text):
        return snippet
    lines = split_snippet(snippet)
    fences = [number for number, line in enumerate(lines) if FENCE.match(line)]
    if len(fences) != 2 or lines[fences[1]].strip(" \t`~") or has_blocks("\n".join(lines[: fences[0]])):
        return snippet
    return "\n".join(lines[fences[0] + 1 : fences[1]]) + "\n"


def _whole(text: str, snippet: str) -> str:
    """A new text for an empty file, with the line ends that the file had."""
    newline = split_lines(text).newline
    return (BOM if text.startswith(BOM) else "") + newline.join(split_snippet(snippet))


def apply_all(
    files: Mapping[str, str], snippets: str | Mapping[str, str] | Iterable[tuple[str, str]]
) -> dict[str, str]:
    """Return all files with edits of several of them merged: all edits, or none.

    `snippets` is a diff of several files, or has an edit for each path, or pairs of both; those of one file
    are merged one after the other. Added files are new in the answer, deleted ones are missing.
    """
    done = dict(files)
    if isinstance(snippets, str):
        for patch in read_diff(snippets) or _no_diff():
            _patch(done, patch)
        return done
    pairs = snippets.items() if isinstance(snippets, Mapping) else snippets
    for path, snippet in pairs:
        if path not in done and has_diff(unfenced(path, snippet)):
            for patch in read_diff(unfenced(path, snippet)):
                _patch(done, patch)
        else:
            with _named(path):
                done[path] = apply(path, done.get(path, ""), snippet)
    return done


def _no_diff() -> list[FilePatch]:
    raise ApplyRefused(
        "the edit names no file", hint="give a unified diff with a line --- and a line +++ for each file"
    )


def _patch(files: dict[str, str], patch: FilePatch) -> None:
    path = _path_of(files, patch)
    with _named(path):
        old = files.get(path, "")
        if patch.deleted:
            if patch.hunks and merge_patch(path, old, patch).text.strip():
                raise ApplyRefused("the diff deletes a file that has other lines", hint="read the file again")
            del files[path]
        elif patch.added and old.strip():
            raise ApplyRefused("the diff adds a file that is there", hint="give the lines that change")
        else:
            files[path] = checked(path, old, merge_patch(path, old, patch).text, "diff")


def _path_of(files: Mapping[str, str], patch: FilePatch) -> str:
    """The file that a patch means: by its name, or the one whose path ends with it."""
    if patch.added:
        return patch.new
    if not patch.old and len(files) == 1:
        return next(iter(files))
    for name in (patch.old, patch.new):
        if name in files:
            return name
    ending = [path for path in files if path.endswith("/" + patch.old) and patch.old]
    if len(ending) != 1:
        problem = f"{len(ending)} files end with" if ending else "there is no file"
        raise ApplyRefused(
            f"{problem} {patch.old or '(the diff does not name it)'}", hint="name it by its whole path"
        )
    if patch.old != patch.new and not patch.deleted:
        raise ApplyRefused(f"the diff renames {patch.old}", hint="rename it first, then give its changes")
    return ending[0]


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Let a refusal begin with the name of the file."""
    try:
        yield
    except ApplyRefused as refused:
        raise ApplyRefused(f"{path}: {refused.reason}", hint=refused.hint) from refused
