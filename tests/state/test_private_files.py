"""Files with prompts and answers are their user's alone, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepgraph import Session
from stepgraph.state.private_files import OpenFileWarning, make_folder, open_private

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="modes are POSIX"),
    pytest.mark.sqlite_file("the rights of files"),
]


@pytest.fixture(params=[0o000, 0o022, 0o277], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("_umask")
def test_the_database_and_what_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "runs.sqlite"
    with Session(path) as session:
        session.journal.write([("UPDATE runs SET status = 'done'", ())])
        assert {mode(file) for file in path.parent.iterdir()} == {0o600}
        assert len(list(path.parent.iterdir())) >= 3
    assert {mode(path.parent), mode(path.parent.parent)} == {0o700}


@pytest.mark.usefixtures("_umask")
@pytest.mark.parametrize("how", ["w", "ab+", "xb"])
def test_a_new_file_is_private_and_one_that_exists_stays(tmp_path: Path, how: str) -> None:
    make_folder(tmp_path / "a" / "b")
    with open_private(tmp_path / "a" / "b" / "f", how):
        assert mode(tmp_path / "a" / "b" / "f") == 0o600
    if how != "xb":
        (tmp_path / "a" / "b" / "f").chmod(0o640)
        with open_private(tmp_path / "a" / "b" / "f", how):
            assert mode(tmp_path / "a" / "b" / "f") == 0o640
    assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "b")) == (0o700, 0o700)


@pytest.mark.filterwarnings("always::stepgraph.state.private_files.OpenFileWarning")
def test_a_database_that_is_open_to_others_is_said_once(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "runs.sqlite"
    Session(path).close()
    path.chmod(0o640)
    for _ in range(3):
        Session(path).close()
    told = [str(one.message) for one in recwarn if one.category is OpenFileWarning]
    assert len(told) == 1
    assert "mode 640" in told[0]
    assert "chmod 600" in told[0]
