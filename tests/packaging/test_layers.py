"""Lower folders never import upper ones, nor do lower parts of a folder; all imports across are relative."""

from __future__ import annotations

from pathlib import Path

import pytest

from .source_tree import FILES, FOLDERS, ROOT, imports_of, name_of, source_of

LAYERS = ("state", "coding", "tracing", "providers", "nodes", "graphs", "runners", "evals", "ui", "cli")

# The inner layers of a folder, from its ground up. Parts that are not named here are its ground and may
# import each other; parts of one row above it may not. The folder's __init__ is its face, above all parts.
INNER = {
    "cli": ({"exit_codes", "options"}, {"support"}, {"commands"}, {"app"}, {"from_stdin"}),
    "coding": (
        {"ranges", "tokens"},
        {"files"},
        {"outlines"},
        {"searching", "compressing", "applying"},
    ),
    "state": ({"journal"}, {"session"}, {"run_context"}),
    "tracing": ({"record"}, {"forks", "export"}),
    "providers": ({"backends"}, {"batches"}, {"stack"}, {"testing"}),
    "graphs": (
        {"drawing", "layouts"},
        {"picture"},
        {"engine"},
        {"patterns", "cost_bound"},
        {"ready"},
        {"catalog"},
    ),
    "runners": ({"engines"}, {"choosing"}, {"scheduling", "submitting", "workers"}),
    "evals": (
        {"running"},
        {"report"},
        {"diagnosis", "improving", "langfuse", "replays", "sweeps"},
        {"pytest_plugin"},
    ),
}


def problems_in(source: str, package: tuple[str, ...], part: str = "") -> list[str]:
    """Return what the imports of a module do that they may not.

    `package` begins with the module's folder; `part` is the module itself if it lies directly in the folder.
    """
    problems = []
    own, *inner = (*package, *([part] if part else []))
    for line, name in imports_of(source, package):
        top, below, *_ = (*name.strip(".").split("."), "")
        if not name.startswith("."):
            if top == "stepgraph" or top in LAYERS:
                problems.append(f"{line}: imports {name}, which must be a relative import")
        elif top not in LAYERS:
            problems.append(f"{line}: imports {name}, which lies in no folder of the layers")
        elif top != own:
            if LAYERS.index(top) > LAYERS.index(own):
                problems.append(f"{line}: {own} may not import {top}")
        elif inner and below != inner[0]:
            here, there = level_of(own, inner[0]), level_of(own, below)
            if there > here or there == here > 0:
                problems.append(f"{line}: {own}/{inner[0]} may not import {own}/{below}")
    return problems


def level_of(folder: str, part: str) -> int:
    return next((level for level, row in enumerate(INNER.get(folder, ()), 1) if part in row), 0)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_module_imports_only_what_lies_below_it(folder: str) -> None:
    found = {}
    for file in FILES:
        package = file.relative_to(ROOT).parent.parts
        if package[0] == folder:
            part = file.stem if len(package) == 1 and file.stem != "__init__" else ""
            found[name_of(file)] = problems_in(source_of(file), package, part)
    assert found
    assert {name: problems for name, problems in found.items() if problems} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from ..graphs.patterns.chain import chain",
        "from .. import graphs",
        "def later():\n    from ..cli.app import main",
        "if TYPE_CHECKING:\n    from ..runners.run import run",
        "import_module(f'..graphs.{name}', __package__)",
        "from ..nonsense import x",
        "import stepgraph",
        "from stepgraph.state import errors",
        "from state.errors import StepgraphError",
        "import nodes.steps",
    ],
)
def test_a_wrong_import_is_found(source: str) -> None:
    assert problems_in(source, ("nodes",), "steps")


@pytest.mark.parametrize(
    "source",
    [
        "from ..state.errors import StepgraphError",
        "from .node import Node",
        "import statistics",
        "import_module(name)",
    ],
)
def test_a_right_import_is_not(source: str) -> None:
    assert problems_in(source, ("nodes",), "steps") == []


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("from ..session.session import Session", "state/journal/store.py"),
        ("from .. import session", "state/journal/store.py"),
        ("from .journal import store", "state/errors.py"),
        ("def later():\n    from ..testing.scripted import ScriptedModel", "providers/stack/roles.py"),
    ],
)
def test_a_wrong_import_inside_a_folder_is_found(source: str, place: str) -> None:
    package = Path(place).parent.parts
    assert problems_in(source, package, Path(place).stem if len(package) == 1 else "")


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("from ..journal.store import Store", "state/session/session.py"),
        ("from .session import Session", "state/session/checkpoints.py"),
        ("from .masking import mask", "state/errors.py"),
    ],
)
def test_a_right_import_inside_a_folder_is_not(source: str, place: str) -> None:
    package = Path(place).parent.parts
    assert problems_in(source, package, Path(place).stem if len(package) == 1 else "") == []


def test_a_run_knows_nothing_of_evals() -> None:
    assert problems_in("from ..evals.running.runner import run_suite", ("runners",), "run")
    assert not problems_in("from ..runners.run import run", ("evals",), "pytest_plugin")
    assert not problems_in("from ...graphs.patterns.chain import chain", ("evals", "report"))


def test_every_folder_has_a_layer_and_every_inner_layer_exists() -> None:
    assert set(FOLDERS) == set(LAYERS)
    for folder, rows in INNER.items():
        for part in (part for row in rows for part in row):
            here = ROOT / folder / part
            assert here.is_dir() or here.with_suffix(".py").is_file(), f"{folder}/{part}"
