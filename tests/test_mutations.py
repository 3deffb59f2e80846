"""The mutation tester itself: the faults it plants, the tests it asks, and that it tells them apart."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from stepgraph.state.json_text import json_text
from stepgraph.state.names import path_of, without_private

from . import coverage_map
from .coverage_map import Covered, Tracer, files_for, read_map
from .mutations import Mutation, covered_by_tests, killer_of, mutations_of

ASKED = ["tests/state/test_limits.py"]
LIMITS = "def fits(size: int, most: int = 10) -> bool:\n    return size <= most\n"
TEST = """
from state.limits import fits

def test_the_limit_itself_fits():
    assert fits(10, 10)
    assert not fits(11, 10)
"""


@pytest.mark.parametrize(
    ("code", "faults"),
    [
        ("a = b < c", ["(b <= c)"]),
        ("a = b is not None", ["(b is None)"]),
        ("a = b and c", ["(b or c)"]),
        ("a = not b", ["(b)"]),
        ("a = True", ["False"]),
        ("a = 3", ["4", "(2)"]),
        ("f(b, c)", ["pass", "f(c, b)"]),
        ("a.b = c", ["pass"]),
        ("a += b", ["pass"]),
        ("if a: b = c", ["(not (a))"]),
        ("f(*b, c)", ["pass"]),
        ("a = max(b, c)", []),
        ("f(b, b)", ["pass"]),
        ('a = f"{b < c}"', []),
        ("def f(a: 'Literal[1]') -> g(1): '''Text.'''", []),
        ("@dataclass(frozen=True)\nclass A: b: int", []),
        ("if TYPE_CHECKING:\n    f()", []),
    ],
)
def test_the_faults_of_a_piece_of_code(code: str, faults: list[str]) -> None:
    assert [mutation.after for mutation in mutations_of("m.py", code)] == faults


def test_a_fault_changes_its_place_and_nothing_else() -> None:
    source = '"""Größe."""\nlong = "ä" if width > (\n    3\n) else "b"  # why\n'
    flip, *_ = mutations_of("m.py", source)
    assert (flip.module, flip.line, flip.before) == ("m.py", 2, "width > (\n    3\n)")
    assert flip.source == '"""Größe."""\nlong = "ä" if (width >= 3) else "b"  # why\n'


def planted(root: Path, test: str) -> Path:
    for name, text in {"state/limits.py": LIMITS, "tests/state/test_limits.py": test}.items():
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return planted(tmp_path / "clean", TEST)


@pytest.fixture
def faults() -> dict[str, Mutation]:
    return {mutation.after: mutation for mutation in mutations_of("state/limits.py", LIMITS)}


def test_one_fault_is_noticed_and_one_is_not(
    clean: Path, tmp_path: Path, faults: dict[str, Mutation]
) -> None:
    tree = planted(tmp_path / "tree", TEST)
    killer = killer_of(faults["(size < most)"], ASKED, tree, clean, 60)
    assert killer == "tests/state/test_limits.py::test_the_limit_itself_fits"
    assert killer_of(faults["11"], ASKED, tree, clean, 60) == ""
    assert killer_of(faults["(size < most)"], [], tree, clean, 60) == ""
    assert (tree / "state/limits.py").read_text() == LIMITS


def test_a_test_that_fails_anyway_notices_nothing(
    clean: Path, tmp_path: Path, faults: dict[str, Mutation]
) -> None:
    broken = "def test_the_limit_itself_fits():\n    assert False\n"
    (clean / "tests/state/test_limits.py").write_text(broken)
    assert killer_of(faults["11"], ASKED, planted(tmp_path / "tree", broken), clean, 60) == ""


def test_a_fault_that_never_ends_is_noticed(clean: Path, tmp_path: Path, faults: dict[str, Mutation]) -> None:
    tree = planted(tmp_path / "tree", "def test_it():\n    while True: ...\n")
    assert killer_of(faults["11"], ASKED, tree, clean, 2) == "tests/state/test_limits.py"
    assert killer_of(faults["11"], ASKED, tree, tree, 0.5) == ""


def test_the_tests_that_are_asked_run_the_lines(clean: Path) -> None:
    covered = {
        "a.py": Covered(50, {"m.py": {1, 2, 3}}),
        "b.py": Covered(9, {"m.py": {1, 2}, "n.py": {1}}),
        "c.py": Covered(2, {"m.py": {1, 2}}),
        "d.py": Covered(1, {"n.py": {1, 2}}),
    }
    assert files_for("m.py", range(2, 3), covered, 100) == ["a.py", "c.py", "b.py"]
    assert files_for("m.py", range(3, 5), covered, 100) == ["a.py"]
    assert files_for("m.py", range(9, 10), covered, 100) == ["a.py", "c.py", "b.py"]
    assert files_for("m.py", range(2, 3), covered, 52) == ["a.py", "c.py"]
    assert files_for("m.py", range(2, 3), covered, 1) == ["a.py"]
    assert files_for("o.py", range(1, 2), covered, 100) == []
    for number in range(4):
        covered[f"near{number}.py"] = Covered(9, {"m.py": {1, 2, 3, 4}})
    assert files_for("m.py", range(2, 3), covered, 100)[4:] == ["c.py", "b.py", "a.py"]


def test_the_lines_of_core_modules_are_noted_for_each_file(tmp_path: Path) -> None:
    tracer = Tracer(tmp_path)
    with tracer.noting("tests/a.py"):
        path_of("a:1")
    with tracer.noting("tests/b.py"):
        worker = threading.Thread(target=without_private, args=({},))
        worker.start()
        worker.join()
    json_text({})
    tracer.write()
    covered = read_map(tmp_path)
    first, second = covered["tests/a.py"], covered["tests/b.py"]
    assert first.lines.keys() == second.lines.keys() == {"state/names.py"}
    assert first.lines["state/names.py"].isdisjoint(second.lines["state/names.py"])
    assert first.seconds > 0


def test_a_run_of_all_tests_says_which_lines_each_file_runs(clean: Path, tmp_path: Path) -> None:
    (clean / "tests/coverage_map.py").write_text(Path(coverage_map.__file__).read_text("utf-8"))
    (clean / "tests/test_other.py").write_text("def test_nothing(): pass\n")
    covered = covered_by_tests(clean, tmp_path / "map", 1)
    assert covered["tests/state/test_limits.py"].lines == {"state/limits.py": {2}}
    assert covered["tests/test_other.py"].lines == {}
    assert covered.keys() == {"tests/state/test_limits.py", "tests/test_other.py"}
    assert read_map(tmp_path / "map") == covered
