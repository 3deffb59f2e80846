"""Files and folders that only this user can read, whatever the umask: they hold prompts and answers."""

from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path
from typing import IO, Any

FILE_MODE = 0o600
FOLDER_MODE = 0o700


class OpenFileWarning(UserWarning):
    """A file that holds prompts and answers can be read by other users of this machine."""


def make_folder(path: Path) -> None:
    """Create a folder, and those above it that are missing. Those that exist stay as they are."""
    missing = []
    for folder in (path, *path.parents):
        if folder.exists():
            break
        missing.append(folder)
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        folder.chmod(FOLDER_MODE)


def open_private(path: Path, mode: str, **options: Any) -> IO[Any]:
    """Open a file as `open` does; a new one belongs to this user alone, one that exists stays as it is."""
    return open(path, mode, opener=_opened, **options)


def create_private(path: Path) -> bool:
    """Create an empty file, and return True; False if there is one already."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE)
    except FileExistsError:
        return False
    _chmod(handle)
    os.close(handle)
    return True


def _opened(path: str, flags: int) -> int:
    try:
        handle = os.open(path, flags | os.O_EXCL, FILE_MODE) if flags & os.O_CREAT else -1
    except FileExistsError:
        handle = -1
    if handle < 0:
        return os.open(path, flags, FILE_MODE)
    _chmod(handle)
    return handle


def _chmod(handle: int) -> None:
    if hasattr(os, "fchmod"):
        os.fchmod(handle, FILE_MODE)


_warned: set[Path] = set()


def tell_if_open(path: Path) -> None:
    """Warn once if others than its user can read or write a file."""
    if os.name != "posix" or path in _warned:
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        _warned.add(path)
        warnings.warn(
            f"{path} is open to other users of this machine (mode {mode:o}), with the prompts and answers in "
            f"it. Close it: chmod 600 {path}*",
            OpenFileWarning,
            stacklevel=2,
        )
