"""What comes with the package: a lock with hashes, licences that we take, the tested weights."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from supply_chain import weights
from supply_chain.dependencies import closure
from supply_chain.licences import is_taken, main, needed
from supply_chain.sbom import locked

ROOT = Path(__file__).parents[2]
LOCKS = ["requirements.lock", "weights.lock"]
LEFT_OUT = {"dev", "studio"}


@pytest.mark.parametrize("name", LOCKS)
def test_each_line_of_a_lock_is_a_version_with_hashes(name: str) -> None:
    """Pip takes hashes alone if all have some, and an address in it would be that of some machine."""
    text = (ROOT / name).read_text(encoding="utf-8")
    entries = re.sub(r" \\\n +", " ", text).splitlines()
    assert entries
    for entry in entries:
        assert re.fullmatch(r"[\w.-]+==[\w.!+]+( ; [^#@:]+?)?( --hash=sha256:[0-9a-f]{64})+", entry), entry[
            :200
        ]


def test_the_lock_has_all_that_its_extras_need_in_the_tested_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name not in LEFT_OUT}
    asked = [*project["dependencies"], *(line for lines in extras.values() for line in lines)]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(re.findall(r"^LOCKED := (.*)$", makefile, re.MULTILINE)[0].split()) == set(extras)
    held = dict(locked())
    missing = [p.name for p in closure(asked) if p.name not in {name for name, _ in held}]
    assert missing == []
    pinned = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if "==" in line
    )
    tested = {canonicalize_name(name): version for name, version in pinned.items()}
    assert {name for name, version in held if tested.get(name, version) != version} == set()


def test_the_licences_of_all_dependencies_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == [package.name for package in needed()]
    assert all(len(line) == 3 and line[2] for line in lines)


@pytest.mark.parametrize(
    ("licence", "taken"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("AGPL-3.0-only", False),
        ("", False),
        ("unknown", False),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
    ],
)
def test_which_licences_are_taken(licence: str, taken: bool) -> None:
    assert is_taken(licence) == taken


def test_weights_that_are_others_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert weights.main() == 0
    changed = {key: (file, "0" * 64) for key, (file, _) in weights.WEIGHTS.items()}
    monkeypatch.setattr(weights, "WEIGHTS", changed)
    assert weights.main() == 1
    assert capsys.readouterr().out.count("not the file of") == 2


def test_somebody_looks_for_new_versions_and_says_where_to_report_a_hole() -> None:
    assert "package-ecosystem: pip" in (ROOT / ".github/dependabot.yml").read_text("utf-8")
    assert "docs/security.md" in (ROOT / "SECURITY.md").read_text("utf-8")
