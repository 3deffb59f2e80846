"""The next turn of a thread keeps what it knows, or is refused before it is forgotten."""

import asyncio
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel
from typing_extensions import TypedDict

from stepgraph import Ask, Budget, ScriptedModel, Session, arun, chain, run, step, stream_run, using
from stepgraph.state.errors import InputError


@dataclass
class AsDataclass:
    text: str
    name: str = ""
    turns: int = 0
    log: Annotated[list[str], operator.add] = field(default_factory=list)
    reply: str = ""


class AsModel(BaseModel):
    text: str = ""
    name: str = ""
    turns: int = 0
    log: Annotated[list[str], operator.add] = []
    reply: str = ""


class AsTypedDict(TypedDict, total=False):
    text: str
    name: str
    turns: int
    log: Annotated[list[str], operator.add]
    reply: str


def graph_over(state: Any, *, by_hand: bool = False) -> Any:
    def hear(given: state) -> dict[str, Any]:
        get = given.get if isinstance(given, dict) else lambda name, default: getattr(given, name)
        name = (
            get("text", "").removeprefix("I am ") if get("text", "").startswith("I am ") else get("name", "")
        )
        return {"name": name, "turns": get("turns", 0) + 1, "log": [get("text", "")]}

    @step("reply")
    def answer(given: state) -> Ask[str]:
        return Ask("answer")

    if by_hand:
        builder = StateGraph(state)
        builder.add_node("hear", hear)
        builder.add_node("answer", answer)
        builder.add_edge(START, "hear")
        builder.add_edge("hear", "answer")
        builder.add_edge("answer", END)
        return builder
    return chain(hear, chain(answer))


Call = Callable[[Any, Any, Session], dict[str, Any]]
CALLS: dict[str, Call] = {
    "run": lambda app, given, session: run(app, given, session, "t").values,
    "arun": lambda app, given, session: asyncio.run(arun(app, given, session, "t")).values,
    "stream_run": lambda app, given, session: list(stream_run(app, given, session, "t"))[-1].values,
    "invoke": lambda app, given, session: app.invoke(given, session.config("t")),
    "stream": lambda app, given, session: list(app.stream(given, session.config("t"), stream_mode="values"))[
        -1
    ],
}


@pytest.mark.parametrize("call", [*CALLS, "by hand"])
def test_a_pydantic_state_writes_what_was_set(call: str, session: Session) -> None:
    app = graph_over(AsModel, by_hand=call == "by hand").compile()
    go = CALLS.get(call, CALLS["run"])
    with using(ScriptedModel(lambda request, context: "Hi.")):
        go(app, AsModel(text="I am Ada"), session)
        second = go(app, AsModel(text="Who am I?"), session)
        assert (second["name"], second["turns"], second["log"]) == ("Ada", 2, ["I am Ada", "Who am I?"])
        third = go(app, AsModel(text="Forget me", name=""), session)
        assert (third["name"], third["turns"]) == ("", 3)  # it was set, to what is the default too
        assert go(app, AsModel(), session)["turns"] == 4
        assert go(app, {"text": "More"}, session)["turns"] == 5


@pytest.mark.parametrize("call", [*CALLS, "by hand"])
def test_a_dataclass_that_would_reset_something_is_refused(call: str, session: Session) -> None:
    app = graph_over(AsDataclass, by_hand=call == "by hand").compile()
    go = CALLS.get(call, CALLS["run"])
    with using(ScriptedModel(lambda request, context: "Hi.")) as _:
        go(app, AsDataclass("I am Ada"), session)
        with pytest.raises(InputError, match=r"knows name, turns, reply already.*{'text': 'Who am I\?'}"):
            go(app, AsDataclass("Who am I?"), session)
        assert session.spent("t").calls == 1
        second = go(app, {"text": "Who am I?"}, session)
        assert (second["name"], second["turns"]) == ("Ada", 2)
        whole = AsDataclass("And now?", name="Ada", turns=7, reply="Hi.")  # nothing of it is a default
        assert go(app, whole, session)["turns"] == 8


def test_a_thread_may_begin_anew(session: Session) -> None:
    app = graph_over(AsDataclass).compile()
    with using(ScriptedModel(lambda request, context: "Hi.")):
        run(app, AsDataclass("I am Ada"), session, "t")
        assert run(app, AsDataclass("Hello"), session, "t", restart=True).value.turns == 1


@pytest.mark.parametrize("state", [AsDataclass, AsModel, AsTypedDict])
def test_a_turn_that_is_delivered_again_goes_on(state: Any, session: Session) -> None:
    app = graph_over(state).compile()
    with using(ScriptedModel(lambda request, context: "Hi.")):
        first = state(text="I am Ada")
        assert run(app, first, session, "t", budget=Budget(calls=0)).status == "partial"
        assert run(app, first, session, "t", budget=Budget()).value == run(app, None, session, "t").value
        second = {"text": "More"} if state is AsDataclass else state(text="More")
        assert run(app, second, session, "t", budget=Budget(calls=1)).status == "partial"
        again = run(app, second, session, "t", budget=Budget())
        assert (again.status, again.values["turns"]) == ("done", 2)


def test_it_holds_whoever_keeps_the_checkpoints() -> None:
    app = graph_over(AsModel).compile(checkpointer=InMemorySaver())
    place: Any = {"configurable": {"thread_id": "t"}}
    with using(ScriptedModel(lambda request, context: "Hi.")):
        app.invoke(AsModel(text="I am Ada"), place)
        assert app.invoke(AsModel(text="Who am I?"), place)["name"] == "Ada"
    app = graph_over(AsModel).compile()
    with using(ScriptedModel(lambda request, context: "Hi.")):
        assert app.invoke(AsModel(text="I am Ada"))["name"] == "Ada"
