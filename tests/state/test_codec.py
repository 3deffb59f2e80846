"""What is written to a checkpoint comes back equal and of the same type, at every depth, or is refused."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Annotated, Any, Generic, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings, strategies as st
from langgraph.channels import UntrackedValue
from langgraph.types import Command, Overwrite, Send, interrupt
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, RootModel, field_validator

from stepgraph import Session, chain
from stepgraph.state.codec import numpy_values
from stepgraph.state.errors import DefinitionError, NotSerializable
from stepgraph.state.json_text import json_text
from stepgraph.state.serde import AllowListSerializer, allow

T = TypeVar("T")


class Page(enum.Enum):
    FRONT = (1, 2)
    BACK = "back"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Place(NamedTuple):
    row: Any
    column: Any = None


class Label(str):
    def __str__(self) -> str:
        return "shown otherwise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    held: Any = None


@dataclass
class Counted:
    held: Any = None
    made: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.made += 1


class Box(BaseModel, Generic[T]):
    held: T


class Rooted(RootModel[list[int]]):
    pass


class Doubled(BaseModel):
    model_config = ConfigDict(extra="allow")
    number: int = Field(0, alias="Number", exclude=True)
    held: Any = None
    _seen: Any = PrivateAttr(default=None)

    @field_validator("number")
    @classmethod
    def double(cls, value: int) -> int:
        return value * 2


class Further(Doubled):
    more: Any = None


class Outer:
    class Inner(enum.Enum):
        ONE = 1


@dataclass
class State:
    thing: Any = None
    known: (
        tuple[Page, Rights, Place, Label, Frozen, Counted, Box[int], Doubled, Rooted, Outer.Inner] | None
    ) = None
    after: Any = None


allow(State)
ZONES = [dt.UTC, dt.timezone(dt.timedelta(hours=-3), "x"), ZoneInfo("Europe/Berlin"), None]

# ruff: noqa: E501
hashable = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.integers(min_value=2**64), st.floats(allow_nan=False),
        st.text(), st.characters(categories=["Cs"]), st.binary(), st.decimals(allow_nan=False), st.fractions(),
        st.uuids(), st.dates(), st.timedeltas(), st.complex_numbers(allow_nan=False), st.ip_addresses(),
        st.times(), st.sampled_from([*Page, *Outer.Inner, Rights.READ, Rights.READ | Rights.WRITE, Rights(0)]),
        st.builds(dt.datetime.replace, st.datetimes(), tzinfo=st.sampled_from(ZONES), fold=st.integers(0, 1)),
        st.text("ab", max_size=3).map(Label), st.text("ab/", max_size=3).map(PurePosixPath),
        st.builds(range, st.integers(-9, 9), st.integers(-9, 9)), st.just(...), st.just(Page), st.just(Box[int]),
    ),
    lambda inner: st.one_of(
        st.tuples(inner, inner), st.frozensets(inner, max_size=3), st.builds(Place, inner, inner),
        st.builds(Frozen, held=inner),
    ),
    max_leaves=4,
)  # fmt: skip


def _seen(model: Doubled, seen: Any) -> Doubled:
    model._seen = seen
    return model


values = st.recursive(
    hashable,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(hashable, inner, max_size=3),
        st.sets(hashable, max_size=3), st.binary().map(bytearray),
        st.builds(collections.deque, st.lists(inner, max_size=3), st.sampled_from([None, 5])),
        st.dictionaries(hashable, inner, max_size=2).map(collections.OrderedDict),
        st.dictionaries(hashable, inner, max_size=2).map(lambda held: collections.defaultdict(list, held)),
        st.lists(hashable, max_size=3).map(collections.Counter),
        st.builds(Counted, inner), st.lists(st.integers(0, 9), max_size=2).map(Rooted), st.builds(lambda held: Box[int].model_construct(held=held), inner),
        st.builds(lambda held, seen: _seen(Further(Number=2, held=held, extra=seen, more=held), seen), inner, inner),
    ),
    max_leaves=6,
)  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal and of the same type at every depth."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        pairs = zip(one.items(), other.items(), strict=True)
        return len(one) == len(other) and all(same(a, b) and same(c, d) for (a, c), (b, d) in pairs)
    if isinstance(one, (list, tuple, collections.deque)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (set, frozenset)):
        return one == other and sorted(str(type(v)) for v in one) == sorted(str(type(v)) for v in other)
    if isinstance(one, BaseModel):
        return (
            same(vars(one), vars(other))
            and same(one.model_extra, other.model_extra)
            and same(one.__pydantic_private__, other.__pydantic_private__)
            and one.model_fields_set == other.model_fields_set
        )
    if isinstance(one, (Counted, Frozen)):
        return same(one.held, other.held) and getattr(one, "made", 0) == getattr(other, "made", 0)
    if isinstance(one, dt.datetime):
        return repr(one) == repr(other)
    return bool(one == other)


def back(value: Any) -> Any:
    serializer = AllowListSerializer()
    return serializer.loads_typed(serializer.dumps_typed(value))


@given(values)
@settings(max_examples=150, deadline=None)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert same(back(value), value)
    assert same(back(Send("n", value)).arg, value)
    assert same(back(Overwrite(value)).value, value)


@given(st.lists(values, min_size=1, max_size=2))
@settings(max_examples=8, deadline=None)
def test_a_later_life_sees_what_the_first_saw(
    tmp_path_factory: pytest.TempPathFactory, written: list[Any]
) -> None:
    seen: list[Any] = []

    def write(state: State) -> dict[str, Any]:
        return {"thing": written}

    def hold(state: State) -> dict[str, Any]:
        seen.append(state.thing)
        interrupt("?")
        return {}

    app, path = chain(write, hold).compile(), tmp_path_factory.mktemp("life") / "runs.sqlite"
    for sent in (State(), Command(resume=1)):
        with Session(path) as session:
            app.invoke(sent, session.config("t"))
    assert same(seen[0], written)
    assert same(seen[1], written)


@pytest.mark.skipif(os.name != "posix", reason="kills")
def test_another_process_sees_what_a_killed_one_saw(tmp_path: Path) -> None:
    """Many values of generated types at once, in a dataclass, a TypedDict and a model."""

    def life(which: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.state.living_types", str(tmp_path / "runs.sqlite"), which]
        root = Path(__file__).parents[2]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False)

    first = life("first")
    assert first.returncode == -signal.SIGKILL, first.stderr
    second = life("second")
    seen = json.loads(second.stdout or "{}")
    assert seen.pop("values", 0) > 30, second.stderr
    assert seen == {"AsDataclass": [], "AsModel": [], "AsTypedDict": []}


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


@pytest.mark.parametrize(
    "value", [lambda: 0, threading.Lock(), object(), (n for n in ()), ValueError("x"), _circle()], ids=type
)
def test_what_cannot_be_kept_is_refused_before_the_next_node(session: Session, value: Any) -> None:
    later: list[str] = []

    def write(state: State) -> dict[str, Any]:
        return {"thing": {"part": [value]}}

    def go_on(state: State) -> dict[str, Any]:
        later.append("ran")
        return {}

    with pytest.raises(NotSerializable, match=r"Node 'write' wrote thing\['part'\]\[0\]"):
        chain(write, go_on).compile().invoke(State(), session.config("t"))
    assert later == []


@dataclass
class Locked:
    lock: threading.Thread | None = None


@dataclass
class Untracked:
    lock: Annotated[threading.Thread | None, UntrackedValue] = None


class Aliased(BaseModel):
    full_name: str = Field("", alias="fullName")


class BothNames(Aliased):
    model_config = ConfigDict(populate_by_name=True)


@dataclass
class PartlyMade:
    kept: int = field(default=0, init=False)


@pytest.mark.parametrize("state", [Locked, Aliased, PartlyMade])
def test_a_state_that_cannot_hold_is_refused_when_the_graph_is_made(state: Any) -> None:
    def node(given: Any) -> None: ...

    node.__annotations__["given"] = state
    with pytest.raises(DefinitionError, match=rf"{state.__name__}\."):
        chain(node).compile()


@pytest.mark.parametrize("state", [Untracked, BothNames])
def test_a_state_that_holds_is_taken(state: Any) -> None:
    def node(given: Any) -> None: ...

    node.__annotations__["given"] = state
    chain(node).compile()


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@given(values)
@settings(max_examples=60, deadline=None)
def test_the_record_can_show_any_value(value: Any) -> None:
    json_text(value)


@pytest.mark.parametrize(
    "value", [_circle(), Unshowable(), {b"\xff": 10**5000}, {Page.FRONT: float("nan")}], ids=type
)
def test_the_record_shows_what_json_cannot_hold(value: Any) -> None:
    json_text({"value": value})


def test_a_value_is_kept_while_another_thread_imports_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", ModuleType("numpy"))
    fresh = enum.Enum("fresh", "A")  # whose writer nobody has looked for
    assert numpy_values.writer_for(fresh) is None
