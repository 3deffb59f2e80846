"""The rules of the house: no import circle, names that say what they hold, exact `__all__`, short modules."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from .source_tree import FILES, FOLDERS, ROOT, imports_of, name_of, source_of

MOST_LINES = 400
SAYS_NOTHING = {"found", "told", "made", "given"}  # any value was found or made; a name says what it is
STAYS = {
    "evals/replays/plan.py": {"found"},  # a field of plans on record
    "graphs/ready/coding_agent/graph.py": {"found"},  # a field of a state in checkpoints
    "graphs/ready/research/graph.py": {"found"},  # a field of a state in checkpoints
    "graphs/ready/resume_screener/graph.py": {"found"},  # a node's name, which traces show
    "state/journal/records.py": {"found"},  # a column of the table retrievals
}
LESS = {"cli/app.py": 149}
PRIVATE_PARTS = "state/session/internals.py"  # the one module that may use LangGraph's and LangChain's
SCRIPTS = ("benchmarks", "cluster", "docs", "examples", "supply_chain")

SOURCES = {name_of(file): source_of(file) for file in FILES}
LISTING = [name for name, source in SOURCES.items() if "\n__all__ = " in source]


def module_of(name: str) -> str:
    return "." + name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def circle_in(sources: Mapping[str, str]) -> list[str]:
    """Return the modules of one import circle, or none; an import inside a function counts as any other."""
    modules = {module_of(name) for name in sources}
    graph = {
        module_of(name): {
            module
            for _, imported in imports_of(source, Path(name).parent.parts)
            for module in targets_of(imported, modules)
        }
        for name, source in sources.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def targets_of(imported: str, modules: set[str]) -> set[str]:
    """Return the modules of ours that an import names: the module itself, or the one that holds the name."""
    if "*" in imported:
        return {module for module in modules if fnmatchcase(module, imported)}
    return {imported} & modules or {imported.rpartition(".")[0]} & modules


def test_no_import_circle() -> None:
    assert circle_in(SOURCES) == []


@pytest.mark.parametrize(
    "source",
    [
        "from ..a.first import f",
        "from ..a import first",
        "def later():\n    from ..a.first import f",
        "if TYPE_CHECKING:\n    from ..a import first",
        "import_module(f'..a.{name}', __package__)",
    ],
)
def test_a_circle_is_found(source: str) -> None:
    assert circle_in({"a/first.py": "from ..b.second import g", "b/second.py": source})


def test_what_is_no_circle() -> None:
    sources = {
        "a/__init__.py": "",
        "a/first.py": "from .second import f",
        "a/second.py": "from . import third",
    }
    assert circle_in({**sources, "a/third.py": "import first"}) == []


def classes_twice(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the names of classes, nested ones too, that stand in several modules, or twice in one."""
    places = defaultdict(list)
    for name, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{name}:{node.lineno}")
    return {name: found for name, found in places.items() if len(found) > 1}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_class_name_twice_in_a_folder(folder: str) -> None:
    assert classes_twice({n: source for n, source in SOURCES.items() if n.startswith(f"{folder}/")}) == {}


def test_a_class_name_that_is_there_twice_is_found() -> None:
    nested = "def build():\n    class _State: ..."
    assert classes_twice({"a/first.py": "class _State: ...", "a/b/second.py": nested}).keys() == {"_State"}


def problems_in_all(source: str) -> list[str]:
    """Return what is wrong with a module's `__all__`: its order, a name that is not there, one left out."""
    listed: list[str] = []
    defined: set[str] = set()
    imported: set[str] = set()
    for name, node in bindings_in(ast.parse(source).body):
        if name == "__all__" and isinstance(node, ast.Assign):
            listed = ast.literal_eval(node.value)
        elif isinstance(node, ast.ImportFrom):
            imported.add(name)
        elif not name.startswith("_"):
            defined.add(name)
    problems = ["is not sorted"] if listed != sorted(set(listed), key=place_of) else []
    problems += [f"lists {name}, which is not there" for name in {*listed} - defined - imported]
    return problems + [f"leaves {name} out" for name in defined - {*listed}]


def place_of(name: str) -> tuple[int, str]:
    """Return where a name stands in `__all__`, as ruff sorts it: constants, then classes, then the rest."""
    return 0 if name.isupper() else 1 if name[0].isupper() else 2, name


def bindings_in(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Yield each name that a module binds, also under `if TYPE_CHECKING`, where a face imports its names."""
    for node in body:
        if isinstance(node, ast.If):
            yield from bindings_in(node.body)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, node) for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((target.id, node) for target in targets if isinstance(target, ast.Name))


def test_each_all_is_sorted_and_exact() -> None:
    assert {name: found for name in LISTING if (found := problems_in_all(SOURCES[name]))} == {}


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("from .a import x, y\n__all__ = ['y', 'x']", "is not sorted"),
        ("from .a import x\n__all__ = ['x', 'x']", "is not sorted"),
        ("from .a import x\n__all__ = ['x', 'z']", "lists z, which is not there"),
        ("from .a import x\ndef f(): ...\n__all__ = ['x']", "leaves f out"),
        ("LIMIT: int = 3\n__all__ = []", "leaves LIMIT out"),
    ],
)
def test_a_wrong_all_is_found(source: str, problem: str) -> None:
    assert problems_in_all(source) == [problem]


def test_a_right_all_is_not() -> None:
    face = "if TYPE_CHECKING:\n    from .a import x\nA = 3\nclass Ab: ...\n__all__ = ['A', 'Ab', 'x']"
    assert problems_in_all(face) == []


def bound_in(source: str) -> set[str]:
    """Return the names that a module binds anywhere, without underscores before them: attributes too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.arg(arg=name):
                names.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)):
                names.add(name)
            case (
                ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name))
            ):
                names.add(name)
    return {name.lstrip("_") for name in names}


def test_names_say_what_they_hold() -> None:
    scripts = {name_of(file): source_of(file) for folder in SCRIPTS for file in (ROOT / folder).rglob("*.py")}
    sources = {**SOURCES, **scripts}
    named = {name: source for name, source in sources.items() if any(word in source for word in SAYS_NOTHING)}
    names = {name: bound_in(source) & SAYS_NOTHING for name, source in named.items()}
    assert {name: words for name, words in names.items() if words} == STAYS, (
        "say what it is: rows, match, message"
    )


@pytest.mark.parametrize(
    "source",
    [
        "found = 1",
        "found: int",
        "f(found := 1)",
        "[found for found in x]",
        "def found(): ...",
        "async def _found(): ...",
        "def f(found): ...",
        "lambda *found: 1",
        "x.found = 1",
        "from a import b as found",
        "try: ...\nexcept E as found: ...",
        "match x:\n    case [*found]: ...",
        "match x:\n    case {**found}: ...",
        "match x:\n    case found: ...",
    ],
)
def test_a_name_that_says_nothing_is_found(source: str) -> None:
    assert "found" in bound_in(source)
    assert "found" not in bound_in("'found'; x.found; f(found=1); case_found = 1")


def is_too_long(name: str, lines: int) -> bool:
    return lines > LESS.get(name, MOST_LINES)


def test_no_module_is_too_long() -> None:
    tests = {name_of(file): source_of(file) for file in (ROOT / "tests").rglob("*.py")}
    lengths = {name: len(source.splitlines()) for name, source in {**SOURCES, **tests}.items()}
    too_long = {name: lines for name, lines in lengths.items() if is_too_long(name, lines)}
    assert too_long == {}, "split them by their reasons to change"


def test_a_module_that_is_too_long_is_found() -> None:
    assert is_too_long("nodes/steps.py", 401)
    assert not is_too_long("nodes/steps.py", 400)
    assert is_too_long("cli/app.py", 150)
    assert not is_too_long("cli/app.py", 149)


def private_parts_in(source: str) -> list[str]:
    """Return the imports of what LangGraph and LangChain keep to themselves."""
    return [
        f"{line}: {name}"
        for line, name in imports_of(source, ())
        if name.startswith(("langgraph", "langchain")) and "._" in name
    ]


def test_private_parts_of_langgraph_are_used_in_one_module() -> None:
    found = {name: private_parts_in(source) for name, source in SOURCES.items() if name != PRIVATE_PARTS}
    assert {name: parts for name, parts in found.items() if parts} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from langgraph._internal._constants import CONFIG_KEY_READ",
        "from langgraph.types import _interrupt_id",
        "def later():\n    import langchain_core.tracers._streaming",
    ],
)
def test_a_private_part_is_found(source: str) -> None:
    assert private_parts_in(source)
    assert not private_parts_in("from langgraph.types import interrupt")


def test_the_module_of_private_parts_is_there() -> None:
    assert private_parts_in(SOURCES[PRIVATE_PARTS])
    assert (ROOT / "tests/state/session/test_internals.py").is_file()
