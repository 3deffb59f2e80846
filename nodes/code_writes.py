"""Changed files: their diff, and how they are written: all or none, each in one move, over nothing newer.

A text that is None stands for no file: one that was not there before, or that is to be deleted."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..state.errors import FilesChanged
from .code_folders import NotAllowed, checked, read_text

CONTEXT_LINES = 3


def write_files(
    root: Path, originals: Mapping[str, str | None], changed: Mapping[str, str | None], key: str
) -> list[str]:
    """Write the changed files and return their names. Raises FilesChanged, and then has written nothing.

    First all new contents are put beside their files, then each takes its file's place in one move; what is
    deleted goes last. What a crash leaves undone, the same call completes: a file that holds its new text
    already is done, and so is one that is gone.
    """
    mark = hashlib.sha256(key.encode()).hexdigest()[:8]
    staged = {file: _staged(root, file, mark) for file in sorted(changed)}
    try:
        waiting = _not_yet_written(root, originals, changed)
        for file in waiting:
            if (text := changed[file]) is not None:
                _stage(root / file, staged[file], text, _source_of(root, file, originals, changed))
        _move(root, sorted(waiting, key=lambda file: changed[file] is None), staged, originals, changed)
    finally:
        for place in staged.values():
            with suppress(OSError):
                place.unlink()
    return sorted(changed)


def _source_of(
    root: Path, file: str, originals: Mapping[str, str | None], changed: Mapping[str, str | None]
) -> Path:
    """Return whose rights a file gets: its own, or those of a deleted one that it was renamed from."""
    if originals[file] is None and (lines := Counter((changed[file] or "").split("\n"))):
        for other in sorted(changed):
            before = Counter((originals[other] or "").split("\n"))
            shared = (lines & before).total()
            if changed[other] is None and 2 * shared >= max(lines.total(), before.total()):
                return root / other
    return root / file


def _staged(root: Path, file: str, mark: str) -> Path:
    place = root / file
    own = hashlib.sha256(place.name.encode("utf-8", "surrogatepass")).hexdigest()[:16]  # no name is too long
    return place.with_name(f".{own}.stepgraph-{mark}")


def _not_yet_written(
    root: Path, originals: Mapping[str, str | None], changed: Mapping[str, str | None]
) -> list[str]:
    """Return the files that hold what they held when they were read. Raises FilesChanged for newer ones."""
    waiting, newer, done = [], [], []
    for file in sorted(changed):
        try:
            checked(root, file, frozenset([file]))
            text = read_text(root, file)
        except NotAllowed as problem:
            newer.append(f"{file} ({problem})")
            continue
        if text == changed[file]:
            done.append(file)
        elif text == originals[file]:
            waiting.append(file)
        else:
            newer.append(file)
    if newer:
        raise _newer(newer, done)
    return waiting


def _newer(files: Sequence[str], written: Sequence[str]) -> FilesChanged:
    before = f" Written before a crash: {', '.join(written)}." if written else ""
    return FilesChanged(
        f"Since it was read, this changed: {', '.join(files)}. So no file is written.{before} The diff is "
        "in the thread's state. Put the file back as it was and go on with `stepgraph resume`, or begin anew "
        "with `--restart`.",
        files=files,
    )


def _text_of(root: Path, file: str) -> str | None:
    try:
        return read_text(root, file)
    except NotAllowed:
        return ""


def _stage(place: Path, staged: Path, text: str, source: Path) -> None:
    """Write the new text to a file beside its place, with the source's rights, and see it on the disk."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        staged.unlink()
    mode = source.stat().st_mode & 0o7777 if source.exists() else 0o666
    handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "wb") as file:
        if source.exists():
            os.fchmod(file.fileno(), mode)
            with suppress(OSError):
                status = source.stat()
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
        file.write(text.encode("utf-8", "surrogatepass"))
        file.flush()
        os.fsync(file.fileno())


def _move(
    root: Path,
    waiting: Sequence[str],
    staged: Mapping[str, Path],
    originals: Mapping[str, str | None],
    changed: Mapping[str, str | None],
) -> None:
    """Move new files into their places, and deleted ones out; where one cannot be, put all back."""
    moved: list[str] = []
    try:
        for file in waiting:
            if _text_of(root, file) != originals[file]:
                raise _newer([file], [])
            if changed[file] is None:
                (root / file).replace(staged[file])
            else:
                staged[file].replace(root / file)
            moved.append(file)
            _sync(root / file)
    except (OSError, FilesChanged):
        for file in moved:
            before = originals[file]
            if before is None:
                (root / file).unlink()
                continue
            if changed[file] is not None:
                _stage(root / file, staged[file], before, root / file)
            staged[file].replace(root / file)
        raise


def _sync(place: Path) -> None:
    with suppress(OSError):
        handle = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def diff_of(originals: Mapping[str, str | None], changed: Mapping[str, str | None]) -> str:
    """Return a unified diff, as `git apply` takes it."""
    lines: list[str] = []
    for file in sorted(changed, key=lambda file: (not originals[file] and not changed[file], file)):
        before, after = originals[file], changed[file]
        old = "/dev/null" if before is None else f"a/{file}"
        new = "/dev/null" if after is None else f"b/{file}"
        if not before and not after:  # an empty file has no lines to show; git wants such heads last
            what = "deleted" if after is None else "new"
            lines.append(f"diff --git a/{file} b/{file}\n{what} file mode 100644\n")
        pieces = difflib.unified_diff(_lines(before or ""), _lines(after or ""), old, new, n=CONTEXT_LINES)
        lines += [p if p.endswith("\n") else f"{p}\n\\ No newline at end of file\n" for p in pieces]
    return "".join(lines)


def _lines(text: str) -> list[str]:
    """Return the lines with their ends; only the line feed ends one, as for git."""
    *lines, last = text.split("\n")
    return [f"{line}\n" for line in lines] + ([last] if last else [])
