"""The settings file `stepgraph.toml`: where it is, and which tables it may have."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from .errors import SettingsError, did_you_mean

FILE_NAME = "stepgraph.toml"
TABLES = ("mcp", "models", "session", "tracing")


def find_file(folder: Path) -> Path | None:
    """Return the settings file of this folder or the nearest one above it."""
    for candidate in (folder, *folder.parents):
        if (candidate / FILE_NAME).is_file():
            return candidate / FILE_NAME
    return None


def read_tables(path: Path) -> dict[str, Any]:
    """Return the tables of a settings file. Raises SettingsError that names the file."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    for name in data:
        if name not in TABLES:
            raise SettingsError(f"{path}: unknown table [{name}]. {did_you_mean(name, TABLES)}")
    return data


@cache
def working_folders_file() -> Path | None:
    """Return the settings file of the folder in which the process first asked for it."""
    return find_file(Path.cwd())
