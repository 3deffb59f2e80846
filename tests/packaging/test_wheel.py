"""The wheel holds the tree: nothing is lost on the way, nothing comes along, and it can be imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "build", "dist", "*.egg-info", "*.sqlite*"
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def names_in(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clean copy of the repository: builds leave files behind, and stale ones get into wheels."""
    copy = tmp_path_factory.mktemp("build") / "some-clone"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=LEFT_OUT)
    return copy


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    """Return the wheel that is built from the tree."""
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "direct", cwd=tree)
    return next((tree / "direct").glob("*.whl"))


@pytest.fixture(scope="module")
def wheel_by_sdist(tree: Path) -> Path:
    """Return the wheel that is built from the sdist that is built from the tree."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", "by-sdist", cwd=tree)
    return next((tree / "by-sdist").glob("*.whl"))


def test_it_holds_the_tree_and_nothing_else(tree: Path, wheel: Path) -> None:
    face = tree / "stepgraph"
    expected = {f"stepgraph/{file.name}" for file in face.iterdir() if file.is_file()}
    for folder in (entry.name for entry in face.iterdir() if entry.is_symlink()):
        files = (file for file in (tree / folder).rglob("*") if file.is_file())
        expected |= {f"stepgraph/{file.relative_to(tree).as_posix()}" for file in files}
    packed = {name for name in names_in(wheel) if not name.split("/")[0].endswith(".dist-info")}
    assert packed == expected
    assert {"stepgraph/py.typed", "stepgraph/graphs/patterns/chain.py"} <= packed


def test_it_is_the_same_by_way_of_the_sdist(wheel: Path, wheel_by_sdist: Path) -> None:
    assert names_in(wheel_by_sdist) == names_in(wheel)


def test_a_users_own_modules_and_ours_do_not_meet(wheel: Path, tmp_path: Path) -> None:
    site, project = tmp_path / "site", tmp_path / "project"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    run(*pip, "--disable-pip-version-check", "--target", site, wheel, cwd=tmp_path)
    (project / "graphs").mkdir(parents=True)
    (project / "state.py").write_text("OWNER = 'user'\n")
    (project / "graphs/__init__.py").write_text("OWNER = 'user'\n")
    program = """
import graphs, state, stepgraph
from stepgraph import chain, step, Ask
for module in (stepgraph, *(__import__("sys").modules[f"stepgraph.{n}"] for n in ("graphs", "state"))):
    print(module.__file__)
print(state.OWNER, graphs.OWNER, chain.__name__)
"""
    *ours, owners = run(sys.executable, "-c", program, cwd=project, PYTHONPATH=str(site)).splitlines()
    assert owners == "user user chain"
    assert [Path(file).is_relative_to(site) for file in ours] == [True, True, True]


def test_its_bill_of_materials_names_all_that_it_needs(wheel: Path) -> None:
    from supply_chain.sbom import document

    bill = document(wheel, ["ui", "evals"])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["purl"].startswith("pkg:pypi/stepgraph@")
    names = {component["name"] for component in bill["components"]}
    assert {"langgraph", "aiohttp", "jinja2", "scipy", "multidict"} <= names
    assert names.isdisjoint({"pytest", "mcp", "stepgraph"})
    assert all(component["licenses"] and component["version"] for component in bill["components"])
    refs = [component["bom-ref"] for component in bill["components"]]
    assert len(refs) == len(set(refs))
    known = {*refs, bill["metadata"]["component"]["bom-ref"]}
    for line in bill["dependencies"]:
        assert line["ref"] in known
        assert known.issuperset(line["dependsOn"])
    assert any(ref.startswith("pkg:pypi/langgraph@") for ref in bill["dependencies"][0]["dependsOn"])
    assert document(wheel, ["ui", "evals"]) == bill
