"""The tree: each folder is linked and packaged, and no file tells of the machine it was written on."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINKS = sorted(entry for entry in (ROOT / "stepgraph").iterdir() if entry.is_symlink())
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]

# Written as patterns that do not match themselves.
MACHINE = re.compile(r"/w[o]rk/|/tmp/[v]\b|/opt/p[y]pi|index[-]url|/h[o]me/\w+/|/r[o]ot/")


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_a_link_points_at_its_folder(link: Path) -> None:
    assert link.readlink() == Path("..", link.name)
    assert (ROOT / link.name / "__init__.py").is_file()


def test_every_folder_with_code_is_packaged_from_where_it_lies() -> None:
    """setuptools finds a child package from its parent: only the top folders need a place."""
    places = {"stepgraph": "stepgraph", **{f"stepgraph.{link.name}": link.name for link in LINKS}}
    assert SETUPTOOLS["package-dir"] == places
    folders = {file.parent.relative_to(ROOT) for link in LINKS for file in (ROOT / link.name).rglob("*.py")}
    expected = {"stepgraph", *("stepgraph." + ".".join(folder.parts) for folder in folders)}
    assert SETUPTOOLS["packages"] == sorted(expected)


def test_every_folder_with_code_is_linked() -> None:
    folders = {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"stepgraph", "tests"}
    assert folders == {link.name for link in LINKS}


def test_no_file_names_a_machine_or_an_index() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_symlink() or not (ROOT / name).is_file():
            continue
        content = (ROOT / name).read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
            if MACHINE.search(line):
                found.append(f"{name}:{number}: {line.strip()[:120]}")
    assert not found, "\n".join(found)
