"""The settings file `stepgraph.toml`: where it is, and which tables it may have."""

from __future__ import annotations

import os
import stat
import tomllib
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from .errors import SettingsError, did_you_mean

FILE_NAME = "stepgraph.toml"
TABLES = ("budgets", "mcp", "models", "session", "tracing")


def find_file(folder: Path) -> Path | None:
    """Return the settings file of this folder or the nearest one above it.

    The search ends at the folder of a repository and at the home folder. A file that somebody else owns, or
    that everybody can write, does not count: it would say where keys are sent. A warning says so.
    """
    home = _home()
    for candidate in (folder, *folder.parents):
        path = candidate / FILE_NAME
        if _is_there(path):
            problem = _distrust(path)
            if problem is None:
                return path
            warnings.warn(f"{path} does not count: {problem}", SettingsFileWarning, stacklevel=2)
        if candidate == home or _is_there(candidate / ".git", any_kind=True):
            break
    return None


class SettingsFileWarning(UserWarning):
    """A settings file does not count, because others than this user may have written it."""


def _home() -> Path | None:
    try:
        return Path.home().resolve()
    except (OSError, RuntimeError):
        return None


def _is_there(path: Path, *, any_kind: bool = False) -> bool:
    try:
        return path.exists() if any_kind else path.is_file()
    except OSError:  # a folder that this user may not look into
        return False


def _distrust(path: Path) -> str | None:
    """Return why a settings file does not count, None if it does: the file, and a link that leads to it."""
    if not hasattr(os, "getuid"):
        return None
    for status in (path.lstat(), path.stat()):
        if status.st_uid not in (0, os.getuid()):
            return (
                f"it belongs to the user with the id {status.st_uid}, not to you or root. If you trust what "
                f"it says, take it over: chown {os.getuid()} {FILE_NAME}"
            )
        if not stat.S_ISLNK(status.st_mode) and status.st_mode & stat.S_IWOTH:
            return f"every user can write it. If you trust what it says: chmod o-w {FILE_NAME}"
    return None


def read_tables(path: Path) -> dict[str, Any]:
    """Return the tables of a settings file. Raises SettingsError that names the file."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, RecursionError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    for name in data:
        if name not in TABLES:
            raise SettingsError(f"{path}: unknown table [{name}]. {did_you_mean(name, TABLES)}")
    return data


@cache
def working_folders_file() -> Path | None:
    """Return the settings file of the folder in which the process first asked for it."""
    return find_file(Path.cwd())
