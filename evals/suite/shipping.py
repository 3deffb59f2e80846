"""The suites that ship, by the names of the ready graphs that they are for."""

from __future__ import annotations

from pathlib import Path

from ...state.errors import InputError, did_you_mean

FOLDER = Path(__file__).parents[1] / "shipped"


def shipped_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.iterdir() if path.suffix in (".yaml", ".jsonl"))


def shipped_path(name: str) -> Path:
    """Return the file of a suite that ships. Raises InputError for an unknown name."""
    for suffix in (".yaml", ".jsonl"):
        if (path := FOLDER / f"{name}{suffix}").is_file():
            return path
    raise InputError(
        f"There is no suite {name!r}. {did_you_mean(name, shipped_names())} For a suite of your own, name "
        "its file: .yaml, .yml, .jsonl, or file.py:attr."
    )
