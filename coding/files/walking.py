"""The files of a folder that a search looks at: text, not ignored, never outside of the folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ...state.errors import InputError
from .ignoring import IgnoreRules

__all__ = ["Entry", "SourceFile", "entries", "folder_of", "inside", "read_text", "walk"]

Entry: TypeAlias = "os.DirEntry[str]"

_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # a path with one could look like two lines
_MOST_BYTES = 2_000_000
"""Larger files are data, or made by a program; a search leaves them out."""

_DEEPEST = 100
_NEVER = {".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", ".tox", ".mypy_cache", ".ruff_cache"}
_BINARY = frozenset(
    """.7z .a .avi .bin .bmp .bz2 .class .dat .db .dll .doc .docx .dylib .eot .exe .flac .gif .gz .ico .jar
    .jpeg .jpg .lib .lz4 .mo .mov .mp3 .mp4 .npy .npz .o .obj .odt .ogg .otf .parquet .pdf .pkl .png .pptx
    .pyc .pyd .pyo .rar .safetensors .so .sqlite .sqlite3 .tar .tgz .tif .tiff .ttf .wasm .wav .webm .webp
    .whl .woff .woff2 .xls .xlsx .xz .zip .zst""".split()
)


@dataclass(frozen=True)
class SourceFile:
    """A file by its path from the folder, with `/` between; size and time tell whether it changed."""

    path: str
    size: int
    modified: int


def folder_of(folder: str | os.PathLike[str]) -> Path:
    """Return the folder with its links followed. Raises InputError if it is none, or cannot be read."""
    path = Path(folder)
    try:
        root = path.resolve(strict=True)
        if not root.is_dir():
            raise InputError(f"{str(path)!r} is not a folder; give the folder that is to be searched.")
        with os.scandir(root) as listing:
            next(listing, None)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"The folder {str(path)!r} cannot be read ({reason}); give one that exists."
        ) from None
    return root


def walk(root: Path) -> Iterator[SourceFile]:
    """Yield the files below a folder in the order of their paths. What cannot be read is left out."""
    for path, entry in entries(root, _may_be_text):
        try:
            status = entry.stat(follow_symlinks=False)
            path.encode("utf-8")  # a name that is no text can be shown to nobody
        except (OSError, UnicodeEncodeError):
            continue
        if 0 < status.st_size <= _MOST_BYTES and not _UNSHOWN.search(path):
            yield SourceFile(path, status.st_size, status.st_mtime_ns)


def _may_be_text(entry: Entry) -> bool:
    return os.path.splitext(entry.name)[1].lower() not in _BINARY  # noqa: PTH122 (many files: speed)


def entries(root: Path, wanted: Callable[[Entry], bool] = lambda _: True) -> Iterator[tuple[str, Entry]]:
    """Yield each wanted file below a folder by its path, in order; none that is ignored, and no link."""
    yield from _entries(root, "", IgnoreRules.of(root), wanted)


def _entries(
    root: Path, folder: str, above: IgnoreRules, wanted: Callable[[Entry], bool]
) -> Iterator[tuple[str, Entry]]:
    if folder.count("/") >= _DEEPEST:
        return
    here = root / folder if folder else root
    rules = above.with_file(here / ".gitignore", folder)
    try:
        listing = sorted(os.scandir(here), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in listing:
        path = f"{folder}/{entry.name}" if folder else entry.name
        try:
            is_folder = entry.is_dir(follow_symlinks=False)
            if not is_folder and not (entry.is_file(follow_symlinks=False) and wanted(entry)):
                continue
        except OSError:
            continue
        if (is_folder and entry.name in _NEVER) or rules.ignores(path, is_folder=is_folder):
            continue
        if is_folder:
            yield from _entries(root, path, rules, wanted)
        else:
            yield path, entry


def inside(root: Path, path: str) -> Path:
    """Return where a path lies that somebody else gave. Raises InputError if that is not inside the folder.

    Links are followed first: one that leads out of the folder is refused as `..` is.
    """
    try:
        target = (root / path.strip().replace("\\", "/")).resolve(strict=True)
        target.relative_to(root)
    except (OSError, RuntimeError):
        raise InputError(f"There is no file {path!r}; paths are relative to the searched folder.") from None
    except ValueError:
        raise InputError(
            f"{path!r} is outside of the searched folder; only what is in it may be read."
        ) from None
    return target


def read_text(file: Path) -> str | None:
    """Return the text of a file, None where it is binary, too large, gone or not to be read.

    UTF-8, or UTF-16 with its mark; bytes that are neither become the replacement character, so that lines
    keep their numbers. Line ends are kept."""
    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
    except OSError:
        return None
    if len(content) > _MOST_BYTES:
        return None
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    if b"\0" in content[:8192]:
        return None
    return content.decode("utf-8", "replace").removeprefix("\ufeff")
