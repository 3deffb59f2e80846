"""A folder as git sees it: what is ignored, and that nothing outside of it is read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from stepgraph.coding.files.kinds import kind_of
from stepgraph.coding.files.walking import folder_of, inside, read_text, walk
from stepgraph.errors import InputError

PATTERNS = [
    *(
        "*.log",
        "!keep.log",
        "/build",
        "build/",
        "**/gen",
        "gen/**",
        "a/*.txt",
        "!a/one.txt",
        "d?r",
        "[ab]x",
        "*",
    ),
    *(
        "!*/",
        "!*.py",
        "# note",
        "\\#odd",
        "sp ace\\ ",
        "a/**/z",
        "/a/b",
        "!/build/keep.log",
        "[!a]x",
        "**.py",
        "e/",
    ),
]
NAMES = [*"a b build gen dir ax cx e z one.txt x.log keep.log m.py #odd".split(), "sp ace "]


def git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout


def paths(root: Path) -> list[str]:
    return [one.path for one in walk(root)]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.sets(
        st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join), min_size=1, max_size=12
    ),
    rules=st.dictionaries(
        st.sampled_from(["", "a", "a/b", "build"]),
        st.lists(st.sampled_from(PATTERNS), max_size=4),
        max_size=3,
    ),
    exclude=st.lists(st.sampled_from(PATTERNS), max_size=2),
)
def test_it_ignores_what_git_ignores(
    tmp_path_factory: pytest.TempPathFactory,
    files: set[str],
    rules: dict[str, list[str]],
    exclude: list[str],
) -> None:
    root = tmp_path_factory.mktemp("tree")
    git(root, "init", "-q")
    (root / ".git/info").mkdir(exist_ok=True)
    (root / ".git/info/exclude").write_text("\n".join(exclude))
    for name in files:
        try:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("x")
        except OSError:
            continue  # a file stands where the folder would
    for folder, lines in rules.items():
        if (root / folder).is_dir():
            (root / folder / ".gitignore").write_text("\n".join(lines))
    listed = git(root, "ls-files", "-z", "--others", "--exclude-standard", "--cached")
    expected = sorted(name for name in listed.split("\0") if name and (root / name).stat().st_size)
    assert sorted(paths(root)) == expected


def test_links_and_odd_files_are_left_out(tmp_path: Path) -> None:
    outside = tmp_path / "secret.py"
    outside.write_text("KEY = 1")
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "a.py").write_text("x")
    (root / "link.py").symlink_to(outside)
    (root / "up").symlink_to(tmp_path)
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "pipe.py")
    (root / "empty.py").write_text("")
    (root / "photo.png").write_bytes(b"\x89PNG")
    (root / "large.json").write_bytes(b"1" * 2_000_001)
    (root / ".gitignore").symlink_to(outside)
    assert paths(root) == ["a.py"]


@pytest.mark.parametrize(
    "path", ["../secret.py", "/etc/passwd", "link.py", "up/secret.py", "sub/../../secret.py", "no.py"]
)
def test_a_path_that_leads_out_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.py").write_text("KEY = 1")
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "link.py").symlink_to(tmp_path / "secret.py")
    (root / "up").symlink_to(tmp_path)
    (root / "here.py").write_text("x")
    with pytest.raises(InputError):
        inside(folder_of(root), path)
    assert inside(folder_of(root), "sub/../here.py").name == "here.py"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"caf\xe9\n", "caf\ufffd\n"),
        ("é\r\n".encode("utf-8-sig"), "é\r\n"),
        ("é\n".encode("utf-16"), "é\n"),
        (b"a\0b", None),
        (b"x" * 2_000_001, None),
    ],
    ids=["latin-1", "a mark", "utf-16", "binary", "huge"],
)
def test_what_is_read(tmp_path: Path, content: bytes, text: str | None) -> None:
    (tmp_path / "f").write_bytes(content)
    assert read_text(tmp_path / "f") == text
    assert read_text(tmp_path / "gone") is None


@pytest.mark.parametrize("name", ["gone", "file.txt", "no\0name"])
def test_a_folder_that_is_none_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(InputError, match="folder"):
        folder_of(tmp_path / name)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("src/app/core.py", "source"), ("app/testing.py", "source"), ("tests/test_core.py", "test"),
        ("src/core.test.ts", "test"), ("docs/conf.py", "doc"), ("README.md", "doc"), ("setup.py", "config"),
        ("pyproject.toml", "config"), ("web/lib.min.js", "generated"), ("v4/core.js", "generated"),
        ("v4/core.d.ts", "generated"), ("src/v4/core.ts", "source"), ("package-lock.json", "generated"),
        ("examples/run.py", "doc"), ("LICENSE", "doc"), ("lib/other.js", "source"),
    ],
)  # fmt: skip
def test_what_a_file_is_for(path: str, kind: str) -> None:
    assert kind_of(path, {"src/v4/core.ts"}) == kind
