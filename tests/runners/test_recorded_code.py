"""A record or a suite names code: only what lies below the working folder is run, links resolved."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepgraph.runners.loading import load_graph, load_recorded
from stepgraph.runners.user_code import find_object
from stepgraph.state.errors import InputError

FLOW = """
from pathlib import Path
from typing import TypedDict
from stepgraph import chain

Path({ran!r}).touch()

class State(TypedDict):
    text: str

def keep(state: State) -> dict[str, str]:
    return {{}}

graph = chain(keep, name="flow")

def made():
    return graph

def fits(given):
    return True
"""


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A mark that code from elsewhere leaves; the working folder, with ways that lead out of it."""
    mark = tmp_path / "ran"
    here, away = tmp_path / "here", tmp_path / "away"
    for folder in (here / "sub", here / "venv" / "site-packages", away / "pack", here / "pack_own"):
        folder.mkdir(parents=True)
    text = FLOW.format(ran=str(mark))
    for place in ("away_flow.py", ".py", "pack/__init__.py", "pack/inner.py", "-flow.py"):
        (away / place).write_text(text)
    for place in ("own_flow.py", "sub/sub_flow.py", "pack_own/__init__.py", "venv/site-packages/lib_flow.py"):
        (here / place).write_text(text)
    (here / "link").symlink_to(away)
    (here / "linked.py").symlink_to(away / "away_flow.py")
    (here / "circle.py").symlink_to(here / "circle.py")
    (here / "pack_linked").symlink_to(away / "pack")
    (here / "space").mkdir()
    (here / "space" / "leaf.py").symlink_to(away / "away_flow.py")
    monkeypatch.chdir(here)
    before, modules = list(sys.path), set(sys.modules)
    sys.path.append(str(away))
    sys.path.append(str(here / "venv" / "site-packages"))
    yield mark
    sys.path[:] = before
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


OUTSIDE = [
    "{away}/away_flow.py:graph",
    "{away}/away_flow.py",
    "../away/away_flow.py:graph",
    "sub/../../away/away_flow.py:graph",
    "{here}/../away/away_flow.py:made",
    "link/away_flow.py:graph",
    "link/../away/away_flow.py:graph",
    "linked.py:graph",
    "{away}/.py:graph",
    "venv/site-packages/lib_flow.py:graph",
    "away_flow:graph",
    "pack:graph",
    "pack.inner:graph",
    "pack_linked:graph",
    "pack_linked.inner:graph",
    "space.leaf:graph",
    "lib_flow:graph",
]
NOWHERE = [
    "circle.py:graph",
    "os:system",
    "os.path:join",
    "subprocess:getoutput",
    "json.decoder:JSONDecoder",
    "sys:exit",
    "antigravity:geohash",
    "..away:graph",
    "own_flow.x:graph",
    ".:graph",
    "a\0b.py:graph",
    "a\0b:graph",
    f"{'x' * 5000}.py:graph",
    ":",
    ".py",
    "",
]


@pytest.mark.parametrize("reference", [*OUTSIDE, *NOWHERE])
def test_code_from_elsewhere_is_never_run(ran: Path, reference: str) -> None:
    names = {"away": ran.parent / "away", "here": ran.parent / "here"}
    reference = reference.format(**names) if "\0" not in reference else reference
    for load in (load_recorded, lambda name: find_object(name, Path(), named_by="it")):
        with pytest.raises(InputError):
            load(reference)
    assert not ran.exists()


@pytest.mark.parametrize("reference", OUTSIDE[:4])
def test_the_refusal_says_how_to_name_it(ran: Path, reference: str) -> None:
    reference = reference.format(away=ran.parent / "away", here=ran.parent / "here")
    with pytest.raises(InputError, match=r"lies outside this folder\. If you trust it, name it: --graph"):
        load_recorded(reference)
    assert load_graph(reference).graph.name == "flow"


@pytest.mark.parametrize(
    "reference",
    ["own_flow.py:graph", "own_flow:made", "sub/sub_flow.py", "{here}/own_flow.py:made", "pack_own:graph"],
)
def test_code_of_the_folder_is_run(ran: Path, reference: str) -> None:
    assert load_recorded(reference.format(here=ran.parent / "here")).graph.name == "flow"


def test_the_working_folder_may_be_reached_by_a_link(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (ran.parent / "door").symlink_to(ran.parent / "here")
    monkeypatch.chdir(ran.parent / "door")
    assert load_recorded(f"{ran.parent}/door/own_flow.py:graph").graph.name == "flow"


def test_a_graph_that_ships_and_its_checks_are_ours(ran: Path) -> None:
    assert load_recorded("support-desk")
    assert callable(find_object("stepgraph.evals.shipped.checks:is_short", named_by="it"))
