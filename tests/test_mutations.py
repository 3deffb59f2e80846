"""The mutation tester itself: the faults it plants, the tests it asks, and that it tells them apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from .mutations import Mutation, killer_of, mutations_of, suites_for

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
    killer = killer_of(faults["(size < most)"], tree, clean, 60)
    assert killer == "tests/state/test_limits.py::test_the_limit_itself_fits"
    assert killer_of(faults["11"], tree, clean, 60) == ""
    assert (tree / "state/limits.py").read_text() == LIMITS


def test_a_test_that_fails_anyway_notices_nothing(
    clean: Path, tmp_path: Path, faults: dict[str, Mutation]
) -> None:
    broken = "def test_the_limit_itself_fits():\n    assert False\n"
    (clean / "tests/state/test_limits.py").write_text(broken)
    assert killer_of(faults["11"], planted(tmp_path / "tree", broken), clean, 60) == ""


def test_a_fault_that_never_ends_is_noticed(clean: Path, tmp_path: Path, faults: dict[str, Mutation]) -> None:
    tree = planted(tmp_path / "tree", "def test_it():\n    while True: ...\n")
    assert killer_of(faults["11"], tree, clean, 2) == "tests/state/test_limits.py"
    assert killer_of(faults["11"], tree, tree, 0.5) == ""


def test_tests_that_are_asked_last(clean: Path, tmp_path: Path, faults: dict[str, Mutation]) -> None:
    tree = planted(tmp_path / "tree", TEST)
    for root in (clean, tree):
        (root / "tests/test_all.py").write_text(
            "import importlib, pytest\nwhere = importlib.import_module('.limits', 'state')\n\n"
            '@pytest.mark.parametrize("most", [None], ids=["a name - of words"])\n'
            "def test_the_default(most): assert not where.fits(11)\n"
        )
    assert killer_of(faults["11"], tree, clean, 60) == ""
    assert killer_of(faults["11"], tree, clean, 60, last="tests/test_all.py").startswith("tests/test_all.py")


def test_the_tests_that_are_asked(clean: Path) -> None:
    (clean / "tests/test_other.py").write_text("from stepgraph.state.limits import fits\n")
    (clean / "tests/test_third.py").write_text("from stepgraph.state import limits\n")
    (clean / "tests/test_fourth.py").write_text("from stepgraph.state.limits_of_disks import fits\n")
    mirrored, naming, folder = suites_for("state/limits.py", clean)
    assert mirrored == ["tests/state/test_limits.py"]
    assert naming == ["tests/test_other.py", "tests/test_third.py"]
    assert folder == ["tests/state"]
    assert suites_for("state/deep/er.py", clean) == [["tests/state"]]
