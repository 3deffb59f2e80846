"""A folder of code: what is read of it, and what may be changed. No path leads out of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from typing import Final

from ..coding.files.walking import entries
from ..state.errors import InputError

MAX_TEXT_BYTES: Final = 5_000_000
_OWN: Final = {".git", ".hg", ".svn"}


class NotAllowed(ValueError):
    """A file that is not to be read or changed; the message tells a model why, and what to do."""


def root_of(folder: str) -> Path:
    """Return a project's folder. Raises InputError for none, and for one that is no project's."""
    if not folder.strip():
        raise InputError("Name the folder of the project: -i folder=.")
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise InputError(f"There is no folder {folder!r}. Name the folder of the project: -i folder=.")
    root = root.resolve()
    if root in (Path(root.anchor), Path.home().resolve()):
        raise InputError(f"{root} is no project. Name the folder of one project: -i folder=…")
    return root


def files_of(root: Path) -> list[str]:
    """Return the project's files, sorted: those that are not ignored; links are left out.

    A name that nobody can write is left out too: not UTF-8, line breaks, characters that hide.
    """
    return sorted(path for path, _ in entries(root) if path.isprintable())


def checked(root: Path, file: str, known: frozenset[str]) -> str:
    """Return the path of a file that may be changed. Raises NotAllowed, which says why it may not."""
    path = PurePosixPath(file)
    parts = path.parts
    if not parts or path.is_absolute() or ".." in parts or "\\" in file or not file.isprintable():
        raise NotAllowed(f"{file!r:.200} is no path in the project. Name files as they were shown to you.")
    name = path.as_posix()
    try:
        _check_place(root, parts, name, known)
    except OSError as error:  # a name that is too long, a folder that this user may not look into
        raise NotAllowed(f"{name:.200} cannot be changed: {error.strerror}.") from None
    return name


def _check_place(root: Path, parts: tuple[str, ...], name: str, known: frozenset[str]) -> None:
    if any(part.lower() in _OWN for part in parts):
        raise NotAllowed(f"{name} belongs to the version control. Leave it alone.")
    place = root
    for part in parts:
        place = place / part
        if place.is_symlink():
            raise NotAllowed(f"{name} is a link, or behind one. Change the file that it leads to.")
    if place.exists() and not place.is_file():
        raise NotAllowed(f"{name} is no file.")
    if place.exists() and name not in known:
        raise NotAllowed(f"{name} is ignored by the project (.gitignore), so it is not changed.")
    parent = next(each for each in place.parents if each.exists())
    if not parent.is_dir():
        raise NotAllowed(f"{name} cannot be made: {parent.relative_to(root).as_posix()} is no folder.")


def read_text(root: Path, file: str) -> str | None:
    """Return a file's text, byte for byte; None if there is no such file. Raises NotAllowed for no text."""
    try:
        handle = os.open(root / file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotAllowed(f"{file} cannot be read: {error.strerror}.") from None
    with os.fdopen(handle, "rb") as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise NotAllowed(f"{file} is no file.")
        if status.st_size > MAX_TEXT_BYTES:
            raise NotAllowed(f"{file} has more than {MAX_TEXT_BYTES} bytes, too many to change it here.")
        data = opened.read()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise NotAllowed(f"{file} is no UTF-8 text.") from None
    if "\0" in text:
        raise NotAllowed(f"{file} is no text.")
    return text
