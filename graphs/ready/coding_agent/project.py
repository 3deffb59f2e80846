"""A project as its tests get it: a copy with the changes in it, and which of its files decide about them."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ....nodes.code_folders import files_of
from ....nodes.sandboxes import ProjectFile

MAX_COPIED_BYTES: Final = 20_000_000
MAX_COPY_BYTES: Final = 200_000_000
_TESTS = re.compile(
    r"(^|/)(tests?|__tests__|specs?)/|(^|/)(test_[^/]*|[^/]*_test|conftest)\.\w+$|\.(test|spec)\.\w+$",
    re.IGNORECASE,
)

_STEERS = re.compile(
    r"(^|/)(conftest\.py|pytest\.ini|tox\.ini|setup\.cfg|pyproject\.toml|package\.json|sitecustomize\.py|Makefile|"
    r"Cargo\.toml|go\.mod|[^/]*\.pth)$"
)


@dataclass(frozen=True)
class Copy:
    """A project's files as the tests get them, and the ones that are too large to come along."""

    files: dict[str, ProjectFile]
    left_out: list[str]


def is_test(file: str) -> bool:
    """Tell whether a file belongs to the tests, by its name."""
    return _TESTS.search(file) is not None


def steers_tests(file: str) -> bool:
    """Tell whether a file says how tests are run, so that a change of it may have them pass."""
    return is_test(file) or _STEERS.search(file) is not None


def copy_of(root: Path, changed: Mapping[str, str | None]) -> Copy:
    """Return the files of the project with the changes in them, for the tests."""
    files = {
        name: ProjectFile(text.encode("utf-8", "surrogatepass"))
        for name, text in changed.items()
        if text is not None
    }
    left_out = []
    total = 0
    for name in files_of(root):
        if name in changed and name not in files:  # it is to be deleted
            continue
        try:
            status = (root / name).lstat()
            if not stat.S_ISREG(status.st_mode):
                continue
            total += status.st_size
            if status.st_size > MAX_COPIED_BYTES or total > MAX_COPY_BYTES:
                left_out.append(name)
                total -= status.st_size
                continue
            runs = bool(status.st_mode & stat.S_IXUSR)
            content = files[name].content if name in files else (root / name).read_bytes()
        except OSError:
            left_out.append(name)
            continue
        files[name] = ProjectFile(content, runs)
    return Copy(files, left_out)
