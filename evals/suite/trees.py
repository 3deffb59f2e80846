"""A folder in one text file, as a suite brings it: `x.tree`, a line `=== path` above each file's text."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ...state.errors import InputError
from ...state.plain_files import read_plain_text

SUFFIX = ".tree"
_HEAD = re.compile(r"^=== (.+)\n", re.MULTILINE)


def unpacked(path: Path) -> Path:
    """Return a folder with the files of a tree; the same tree has the same folder, in every process."""
    try:
        text = read_plain_text(path, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text: {error}") from None
    files = _files_in(path, text)
    user = os.getuid() if hasattr(os, "getuid") else 0
    place = Path(tempfile.gettempdir()) / f"stepgraph-trees-{user}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != user or place.stat().st_mode & 0o077:
        raise InputError(f"{place} does not belong to you alone, so no files are put there. Remove it.")
    folder = place / hashlib.sha256(text.encode()).hexdigest()[:16] / path.stem
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory(dir=place) as name:
        draft = Path(name, path.stem)
        for file, content in files.items():
            (draft / file).parent.mkdir(parents=True, exist_ok=True)
            (draft / file).write_text(content, encoding="utf-8", newline="")
        folder.parent.mkdir(exist_ok=True)
        with suppress(OSError):  # another process was first
            draft.rename(folder)
    return folder


def _files_in(path: Path, text: str) -> dict[str, str]:
    before, *parts = _HEAD.split(text)
    files = dict(zip(parts[::2], parts[1::2], strict=True))
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"{path} has a file {name!r}, which lies outside of its folder.")
    if before or not files:
        raise InputError(f"{path} is no tree: expected a line `=== path` above the text of each file.")
    return files
