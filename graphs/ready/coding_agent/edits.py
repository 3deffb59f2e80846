"""From edits to changed files: each edit is made or refused with the reason, never half."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ....coding import apply, apply_all, check_merged, form_of
from ....nodes.code_folders import NotAllowed, checked, files_of, read_text
from ....state.errors import ApplyRefused
from ....state.serde import allow
from .answers import Edit
from .project import is_test

MAX_CHANGED = 40


@dataclass(frozen=True)
class Refusal:
    """An edit that was not made, and why."""

    file: str
    snippet: str
    reason: str
    mergeable: bool = False  # what code could not merge, a model may; what is not allowed, nobody


allow(Refusal)


@dataclass
class Changes:
    """The files that changed: as they were read and as they are to be. None: there is no such file."""

    originals: dict[str, str | None] = field(default_factory=dict)
    changed: dict[str, str | None] = field(default_factory=dict)
    refused: list[Refusal] = field(default_factory=list)


def changes_from(
    edits: Iterable[Edit],
    root: Path,
    originals: Mapping[str, str | None],
    changed: Mapping[str, str | None],
    *,
    may_edit_tests: bool,
) -> Changes:
    """Make the edits one after the other, on top of what changed before; each is made or refused."""
    changes = Changes(dict(originals), dict(changed))
    known = frozenset(files_of(root))
    for edit in edits:
        file, text = edit.file, None
        try:
            file = _allowed(edit.file, root, changes, known, may_edit_tests=may_edit_tests)
            text = _text_of(file, root, changes)
            if edit.kind == "delete":
                _delete(file, text, edit.snippet, root, changes)
            elif edit.kind == "rename":
                to = _allowed(edit.to, root, changes, known, may_edit_tests=may_edit_tests)
                _rename(file, text, to, root, changes)
            else:
                _keep(file, _merged(file, text, edit.snippet), root, changes)
        except NotAllowed as problem:
            changes.refused.append(Refusal(edit.file, edit.snippet, str(problem)))
        except ApplyRefused as problem:
            refusal = Refusal(file, edit.snippet, str(problem), _is_mergeable(text or "", edit.snippet))
            changes.refused.append(refusal)
    return changes


def merged(
    edits: Iterable[Edit],
    refused: Iterable[Refusal],
    root: Path,
    originals: Mapping[str, str | None],
    changed: Mapping[str, str | None],
) -> Changes:
    """Take what a model merged for refused snippets, if a file is then the old one with its snippet in it."""
    changes = Changes(dict(originals), dict(changed))
    known = frozenset(files_of(root))
    all_edits = [*edits]
    for refusal in refused:
        own = [edit for edit in all_edits if (edit.file, edit.kind) == (refusal.file, "change")]
        try:
            if not refusal.mergeable or not own:
                raise ApplyRefused(refusal.reason)
            file = checked(root, refusal.file, known)
            text = after = _text_of(file, root, changes) or ""
            for edit in own:
                after = apply(file, after, edit.snippet)
            check_merged(text, refusal.snippet, after, file)
            _keep(file, after, root, changes)
        except (ApplyRefused, NotAllowed):
            changes.refused.append(refusal)
    return changes


def _is_mergeable(text: str, snippet: str) -> bool:
    """Tell whether a model may merge what code refused: only of a snippet with marks code can check that."""
    try:
        return form_of(text, snippet) == "marked"
    except ApplyRefused:
        return False


def _merged(file: str, text: str | None, snippet: str) -> str:
    """Return a file with a snippet in it; a new one may be empty."""
    return "" if text is None and not snippet else apply(file, text or "", snippet)


def _delete(file: str, text: str | None, diff: str, root: Path, changes: Changes) -> None:
    if text is None:
        raise NotAllowed(f"There is no file {file}, so it cannot be deleted.")
    if "@@" in diff and file in apply_all({file: text}, diff):  # a diff says what it believes to delete
        raise NotAllowed(f"{file} has other lines than the diff deletes. Read the file again.")
    _keep(file, None, root, changes)


def _rename(file: str, text: str | None, to: str, root: Path, changes: Changes) -> None:
    if text is None:
        raise NotAllowed(f"There is no file {file}, so it cannot be renamed.")
    if file == to or _text_of(to, root, changes) is not None:
        raise NotAllowed(
            f"{file} cannot be renamed to {to}: there is such a file. Delete it first, if it is to go."
        )
    _keep(to, text, root, changes)
    _keep(file, None, root, changes)


def _allowed(named: str, root: Path, changes: Changes, known: frozenset[str], *, may_edit_tests: bool) -> str:
    """Return the file of an edit. Raises NotAllowed."""
    if not named:
        raise NotAllowed("No file is named above this block. Write `### path/of/the/file` there.")
    file = checked(root, named, known)
    if is_test(file) and not may_edit_tests:
        raise NotAllowed(f"{file} is one of the tests, which decide. Change the code that they test.")
    if file not in changes.changed and len(changes.changed) >= MAX_CHANGED:
        raise NotAllowed(f"More than {MAX_CHANGED} files change. Change fewer.")
    return file


def _text_of(file: str, root: Path, changes: Changes) -> str | None:
    """Return a file as it is by now, None where there is none. Raises NotAllowed for no text."""
    if file in changes.changed:
        return changes.changed[file]
    return changes.originals[file] if file in changes.originals else read_text(root, file)


def _keep(file: str, after: str | None, root: Path, changes: Changes) -> None:
    original = changes.originals[file] if file in changes.originals else read_text(root, file)
    if after == original:  # back to what it was
        changes.changed.pop(file, None)
        changes.originals.pop(file, None)
    else:
        changes.originals[file] = original
        changes.changed[file] = after
