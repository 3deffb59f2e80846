"""Changed files are written all or none, each in one move, and never over what is newer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from stepgraph.nodes import code_writes
from stepgraph.nodes.code_writes import diff_of, write_files
from stepgraph.state.errors import FilesChanged

OLD: dict[str, str | None] = {
    "a.py": "a\r\n",
    "b.py": "b",
    "deep/new.py": None,
    "empty.py": "",
    "gone.py": "x\ny",
    "was.py": "one\ntwo\nthree\n",
    "now/is.py": None,
    "now/nothing.py": None,
}
NEW: dict[str, str | None] = {
    "a.py": "A\r\n",
    "b.py": "B",
    "deep/new.py": "new\n",
    "empty.py": None,
    "gone.py": None,
    "was.py": None,
    "now/is.py": "one\ntwo\nfour\n",
    "now/nothing.py": "",
}
DONE = {name: text for name, text in NEW.items() if text is not None}
MOVES = range(1, len(NEW) + 1)


class Crash(BaseException):
    """What nothing catches, as a SIGKILL is."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in OLD.items():
        if text is not None:
            (tmp_path / name).write_bytes(text.encode())
    return tmp_path


def held(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().decode()
        for path in folder.rglob("*")
        if path.is_file()
    }


def fail_at(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """Have the move of a file fail, the so-and-so-manieth; after a crash nothing is tidied up."""
    replace, moves = Path.replace, 0

    def counted(self: Path, target: Any) -> Any:
        nonlocal moves
        moves += 1
        if moves == number:
            if isinstance(error, Crash):
                monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
            raise error
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", counted)


@pytest.mark.parametrize("number", MOVES)
def test_what_a_crash_leaves_undone_the_same_call_completes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patched:
        fail_at(patched, number, Crash())
        with pytest.raises(Crash):
            write_files(folder, OLD, NEW, "key")
    left = {name: text for name, text in held(folder).items() if not Path(name).name.startswith(".")}
    assert all(text in (OLD[name], NEW[name]) for name, text in left.items())  # none is half written
    assert "was.py" in left or "now/is.py" in left  # a renamed file is there at every moment
    assert write_files(folder, OLD, NEW, "key") == sorted(NEW)
    assert held(folder) == DONE


@pytest.mark.parametrize("number", MOVES)
def test_where_one_cannot_be_written_none_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    before = held(folder)
    with monkeypatch.context() as patched:
        fail_at(patched, number, OSError(28, "No space left on device"))
        with pytest.raises(OSError, match="No space"):
            write_files(folder, OLD, NEW, "key")
    assert held(folder) == before


@pytest.mark.parametrize("name", [*OLD])
def test_nothing_newer_is_written_over(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"newer")
    before = held(folder)
    with pytest.raises(FilesChanged, match=name) as told:
        write_files(folder, OLD, NEW, "key")
    assert told.value.files == (name,)
    assert held(folder) == before


def test_what_became_a_link_is_not_followed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "a.py"
    outside.write_bytes(b"a\r\n")
    (folder / "a.py").unlink()
    (folder / "a.py").symlink_to(outside)
    with pytest.raises(FilesChanged):
        write_files(folder, OLD, NEW, "key")
    assert outside.read_bytes() == b"a\r\n"


def test_the_rights_of_a_file_stay(folder: Path) -> None:
    (folder / "a.py").chmod(0o751)
    write_files(folder, OLD, NEW, "key")
    assert (folder / "a.py").stat().st_mode & 0o777 == 0o751


def test_a_renamed_file_keeps_its_rights_and_so_does_one_that_is_put_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("was.py", "gone.py"):
        (folder / name).chmod(0o750)
    with monkeypatch.context() as patched:
        fail_at(patched, len(NEW), OSError(5, "Input/output error"))
        with pytest.raises(OSError, match="Input"):
            write_files(folder, OLD, NEW, "key")
    assert [(folder / name).stat().st_mode & 0o777 for name in ("was.py", "gone.py")] == [0o750, 0o750]
    write_files(folder, OLD, NEW, "key")
    assert (folder / "now/is.py").stat().st_mode & 0o777 == 0o750
    assert (folder / "now/nothing.py").stat().st_mode & 0o100 == 0


def test_git_takes_the_diff(folder: Path) -> None:
    import subprocess

    diff = diff_of(OLD, NEW)
    done = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", "-"], input=diff.encode(), cwd=folder, check=False,
        capture_output=True, env={"PATH": os.environ["PATH"], "GIT_CEILING_DIRECTORIES": str(folder.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert held(folder) == DONE
    assert code_writes.CONTEXT_LINES == 3
