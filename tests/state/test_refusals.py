"""What cannot be taken is refused by an error that names it, and says what would do."""

from __future__ import annotations

import collections
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from stepgraph import Budget, Session, chain
from stepgraph.state.errors import DefinitionError, InputError, NotSerializable, SettingsError, StoreError
from stepgraph.state.schema import json_schema_of, signature_types
from stepgraph.state.serde import allow
from stepgraph.state.session.session import text_of_id


@dataclass
class Kept:
    value: Any = None


@dataclass
class Fixed:
    made: int = field(default=1, init=False)


@dataclass
class Made:
    value: Callable[[], int] | None = None


class Zone(dt.tzinfo):
    """A time zone of a kind that no checkpoint knows."""


class Named(BaseModel):
    text: str = Field("", alias="Text")


class Answer(Enum):
    YES = "yes"


def stateless() -> dict[str, Any]:
    return {}


def of(state: type) -> Callable[[Any], dict[str, Any]]:
    def node(state: Any) -> dict[str, Any]:
        return {}

    node.__annotations__["state"] = state
    return node


@pytest.mark.parametrize("limit", ["usd", "tokens", "calls", "seconds", "supersteps", "answer_tokens"])
def test_a_limit_may_be_zero_and_not_below(limit: str) -> None:
    Budget(**{limit: 0})
    with pytest.raises(ValueError, match=rf"Budget\({limit}=-1\): expected 0 or more"):
        Budget(**{limit: -1})
    with pytest.raises(SettingsError, match=rf"here: Budget\({limit}=-1\)"):
        Budget.read({limit: -1}, "here")


@pytest.mark.parametrize("limits", [[], "calls", {"call": 1}, {"calls": 1, "pence": 2}])
def test_a_table_of_limits_has_known_names(limits: Any) -> None:
    with pytest.raises(SettingsError, match=r"here: expected a table of limits: tokens, usd, calls"):
        Budget.read(limits, "here")


@pytest.mark.parametrize(
    ("thread", "told"),
    [
        (None, "not NoneType"),
        (True, "not bool"),
        (1.5, "not float"),
        (b"t", "not bytes"),
        ("", "may not be empty"),
        (" \n", "may not be empty"),
        ("x" * 501, "at most 500 characters, not 501: xxx"),
        ("a\0b", r"'a\\x00b' holds a character"),
        ("a\ud800", "holds a character"),
    ],
)
def test_what_is_no_id_of_a_thread(thread: Any, told: str, session: Session) -> None:
    with pytest.raises(InputError, match=told):
        session.config(thread) if thread is not None else text_of_id(thread)


@pytest.mark.parametrize("thread", ["", "a\0b", "a\ud800", "x" * 501])
def test_langgraphs_own_config_is_refused_too(thread: str, session: Session) -> None:
    app = chain(of(Kept)).compile(checkpointer=session.checkpointer)
    with pytest.raises(InputError, match=r"(A|The) thread's id"):
        app.invoke(Kept(), {"configurable": {"thread_id": thread}})
    assert session.journal.query("SELECT 1 FROM runs") == []


@pytest.mark.parametrize("thread", ["x" * 500, 7, UUID(int=7), Answer.YES, "ü 日"])
def test_what_is_an_id_of_a_thread(thread: Any) -> None:
    assert text_of_id(thread) == str(thread.value if isinstance(thread, Enum) else thread)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (
            dt.datetime(2026, 1, 2, tzinfo=Zone()),
            r"its time zone is of .*Zone.*ZoneInfo or datetime",
        ),
        (dt.time(1, 2, tzinfo=Zone()), r"its time zone is of"),
        (collections.defaultdict(lambda: 1), "its default_factory is <function"),
        (int | Zone, "Zone"),
    ],
    ids=["datetime", "time", "default", "class"],
)
def test_a_value_that_no_checkpoint_keeps(value: Any, told: str, session: Session) -> None:
    allow(Kept)
    app = chain(of(Kept)).compile()
    with pytest.raises(NotSerializable, match=told):
        app.invoke(Kept(value), session.config("t"))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: signature_types(3), "3' is not a function that takes a state"),  # type: ignore[arg-type]
        (lambda: signature_types(stateless), "takes no state"),
        (lambda: json_schema_of(Made, "value"), r"Made\.value cannot be described to a person"),
        (lambda: chain(of(Fixed)).compile(), r"Fixed\.made has init=False.*field\(default=…\)"),
        (lambda: chain(of(Named)).compile(), r"Named\.text has an alias.*populate_by_name=True"),
    ],
    ids=["no function", "no state", "no schema", "no parameter", "alias"],
)
def test_what_makes_no_state_is_refused_at_definition(make: Callable[[], Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        make()


def test_a_closed_session_says_so(session: Session) -> None:
    config = session.config("t")
    session.close()
    with pytest.raises(StoreError, match=r"The session of .* is closed\. Open a new one"):
        chain(of(Kept)).compile().invoke(Kept(), config)


def test_checkpoints_are_pruned_in_one_of_two_ways(session: Session) -> None:
    with pytest.raises(ValueError, match=r"prune\(strategy='all'\): expected 'keep_latest' or 'delete'"):
        session.checkpointer.prune(["t"], strategy="all")
