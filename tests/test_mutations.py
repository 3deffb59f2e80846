"""The mutation tester itself: the faults it plants, the tests it asks, and that it tells them apart."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from stepgraph.state.json_text import json_text
from stepgraph.state.names import path_of, without_private

from . import coverage_map, planting
from .coverage_map import Covered, Tracer, nearest_tests, read_map, unmapped_files
from .mutations import Mutation, covered_by_tests, failing, interval, killer_of, mutations_of, verdicts_of
from .planting import NO_VERDICT

ASKED = ["tests/state/test_limits.py::test_the_limit_itself_fits"]
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
        ("a = 404", ["606", "(202)"]),
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
        ("a = errors(include_url=False)", []),
        ("def __repr__(self): return g(1, 2)", []),
        ("@overload\ndef f(a: int = 1) -> int: ...", []),
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
    (root / "pytest.ini").write_text("[pytest]\n")  # nodes are named from here
    for plugin in (coverage_map, planting):
        (root / "tests" / Path(plugin.__file__).name).write_text(Path(plugin.__file__).read_text("utf-8"))
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
    assert killer_of(faults["(size < most)"], ASKED, tree, clean, 60) == ASKED[0]
    assert killer_of(faults["11"], ASKED, tree, clean, 60) == ""
    assert killer_of(faults["(size < most)"], [], tree, clean, 60) == ""
    assert (tree / "state/limits.py").read_text() == LIMITS


def test_a_test_that_fails_anyway_gives_no_verdict(
    clean: Path, tmp_path: Path, faults: dict[str, Mutation]
) -> None:
    broken = "def test_the_limit_itself_fits():\n    assert False\n"
    (clean / "tests/state/test_limits.py").write_text(broken)
    assert killer_of(faults["11"], ASKED, planted(tmp_path / "tree", broken), clean, 60) == NO_VERDICT


def test_a_fault_that_never_ends_is_noticed(clean: Path, tmp_path: Path, faults: dict[str, Mutation]) -> None:
    tree = planted(
        tmp_path / "tree", "import time\n\ndef test_the_limit_itself_fits():\n    time.sleep(600)\n"
    )
    assert failing(tree, ASKED, 0.5) == ASKED
    assert killer_of(faults["11"], ASKED, tree, tree, 0.5) == NO_VERDICT


def test_faults_are_planted_in_a_process_that_has_loaded_all(
    clean: Path, faults: dict[str, Mutation]
) -> None:
    """All but what a module does as it loads, such as the default of a parameter."""
    chosen = [faults["(size < most)"], faults["11"], faults["(size < most)"]]
    (clean / "state/limits.py").write_text(f"{LIMITS}TOP = 3\n")
    of_top = [each for each in mutations_of("state/limits.py", f"{LIMITS}TOP = 3\n") if each.line == 3]
    said = list(verdicts_of([*chosen, of_top[0]], [ASKED, ASKED, [], ASKED], clean, 60))
    assert said == [ASKED[0], "", "", ""]


def test_a_test_that_fails_after_the_others_anyway_gives_no_verdict(
    clean: Path, faults: dict[str, Mutation]
) -> None:
    (clean / "tests/state/test_limits.py").write_text(
        "import state.limits\n"
        "def test_one(): state.limits.seen = 1\n"
        "def test_two(): assert not hasattr(state.limits, 'seen')\n"
    )
    tests = [f"tests/state/test_limits.py::test_{number}" for number in ("one", "two")]
    chosen = [faults["(size < most)"], faults["11"]]  # planted in the process, and in a copy
    assert list(verdicts_of(chosen, [tests, tests], clean, 60)) == [NO_VERDICT] * 2


def test_a_fault_in_a_process_that_a_test_starts_is_noticed(clean: Path, faults: dict[str, Mutation]) -> None:
    (clean / "tests/state/test_limits.py").write_text(
        "import subprocess, sys\n"
        "import state.limits\n"
        "def test_the_limit_itself_fits():\n"
        "    code = 'from state.limits import fits; assert fits(10, 10)'\n"
        "    assert subprocess.run([sys.executable, '-c', code]).returncode == 0\n"
    )
    chosen = [faults["(size < most)"], faults["11"]]
    assert list(verdicts_of(chosen, [ASKED, ASKED], clean, 60)) == [ASKED[0], ""]


def test_the_tests_that_are_asked_run_the_lines() -> None:
    covered = {
        "tests/a/test_m.py": Covered(1, {}),
        "tests/a/test_m.py::one": Covered(50, {"a/m.py": {1, 2, 3}}),
        "tests/a/test_m.py::two": Covered(9, {"a/m.py": {3}}),
        "tests/b/test_m_x.py::three": Covered(9, {"a/m.py": {1, 2}, "n.py": {1}}),
        "tests/a/test_b.py": Covered(1, {"a/m.py": {7}}),
        "tests/a/test_b.py::four": Covered(2, {"a/m.py": {1, 2}}),
        "tests/c/test_c.py::five": Covered(1, {"n.py": {1, 2}, "a/m.py": {2}}),
    }
    one, two, three, four, five = (name for name in covered if "::" in name)
    alone = range(0)
    assert nearest_tests("a/m.py", range(2, 3), alone, covered, 100) == [four, three, one, five]
    assert nearest_tests("a/m.py", range(3, 5), alone, covered, 100) == [two, one]
    assert nearest_tests("a/m.py", range(3, 5), range(2, 6), covered, 100) == [two, one, five, four, three]
    assert nearest_tests("a/m.py", range(7, 8), alone, covered, 100) == [four]
    assert nearest_tests("a/m.py", range(9, 10), range(7, 12), covered, 100) == [four]
    assert nearest_tests("a/m.py", range(9, 10), alone, covered, 1000) == [four, two, three, one, five]
    assert nearest_tests("a/m.py", range(2, 3), alone, covered, 20) == [four, three]
    assert nearest_tests("a/m.py", range(2, 3), alone, covered, 1) == [four]
    assert nearest_tests("c/o.py", range(1, 2), alone, covered, 1) == [five]


def test_the_lines_of_core_modules_are_noted_for_each_test(tmp_path: Path) -> None:
    tracer = Tracer(tmp_path)
    with tracer.noting("tests/a.py::one"):
        path_of("a:1")
    with tracer.noting("tests/b.py::two"):
        worker = threading.Thread(target=without_private, args=({},))
        worker.start()
        worker.join()
    json_text({})
    tracer.write()
    covered = read_map(tmp_path)
    first, second = covered["tests/a.py::one"], covered["tests/b.py::two"]
    assert first.lines.keys() == second.lines.keys() == {"state/names.py"}
    assert first.lines["state/names.py"].isdisjoint(second.lines["state/names.py"])
    assert first.seconds > 0


def test_a_run_of_all_tests_says_which_lines_each_runs(clean: Path, tmp_path: Path) -> None:
    (clean / "tests/test_other.py").write_text("def test_nothing(): pass\n")
    files = unmapped_files(clean, {})
    covered = covered_by_tests(clean, tmp_path / "map", 1, files)
    assert covered[ASKED[0]].lines == {"state/limits.py": {2}}
    assert covered["tests/test_other.py::test_nothing"].lines == {}
    assert {name for name in covered if "::" in name} == {ASKED[0], "tests/test_other.py::test_nothing"}
    assert read_map(tmp_path / "map") == covered
    assert unmapped_files(clean, covered) == []
    assert unmapped_files(clean, {ASKED[0]: Covered()}) == ["tests/test_other.py"]


def test_a_map_that_was_cut_off_is_gone_on_with(clean: Path, tmp_path: Path) -> None:
    """Two processes may have one number, one after the other: what one of them noted is kept."""
    (clean / "tests/test_other.py").write_text("def test_nothing(): pass\n")
    covered_by_tests(clean, tmp_path / "map", 1, ["tests/test_other.py"])
    missing = unmapped_files(clean, read_map(tmp_path / "map"))
    assert missing == ["tests/state/test_limits.py"]
    covered = covered_by_tests(clean, tmp_path / "map", 1, missing)
    assert {name for name in covered if "::" in name} == {ASKED[0], "tests/test_other.py::test_nothing"}
    for _ in range(2):
        tracer = Tracer(tmp_path / "map")
        with tracer.noting("tests/test_again.py::test_again"):
            pass
        tracer.write()
    assert len(list((tmp_path / "map").glob("*.json"))) == 4


def test_a_fault_knows_the_function_around_it() -> None:
    source = "a = 3\n\ndef f():\n    def g():\n        return 1\n    return 2\n"
    around = {fault.before: fault.function for fault in mutations_of("m.py", source)}
    assert around == {"3": range(0), "1": range(4, 6), "2": range(3, 7)}


def test_the_interval_of_a_share() -> None:
    low, high = interval(95, 100)
    assert (round(low, 3), round(high, 3)) == (0.888, 0.978)
    assert interval(0, 0) == (0.0, 1.0)
