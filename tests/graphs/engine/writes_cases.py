"""x"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Annotated, Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langgraph.channels import DeltaChannel, Topic
from langgraph.graph.message import add_messages

Messages = Annotated[list[AnyMessage], add_messages]


def writing(update: dict[str, Any], state: Any) -> Any:
    def write(values: Any) -> dict[str, Any]:
        return update

    write.__annotations__["values"] = state
    return write


# What no reducer can be turned around for


def shift(old: int, new: int) -> int:
    return 2 * old - new


def grow(old: list[str], new: list[str]) -> list[str]:
    old.extend(new)  # in place, as some do
    return old


def best(old: int | None, new: int) -> int:
    return new if old is None else max(old, new)


def joined(old: list[str], new: Sequence[list[str]]) -> list[str]:
    return [*old, *(item for items in new for item in items)]


def counted_words(old: dict[str, int], new: dict[str, int]) -> dict[str, int]:
    for word, count in new.items():
        old[word] = old.get(word, 0) + count
    return old


@dataclass
class Odd:
    odd: Annotated[int, shift] = 0
    top: Annotated[int | None, best] = None
    log: Annotated[list[str], grow] = field(default_factory=list)
    words: Annotated[dict[str, int], counted_words] = field(default_factory=dict)
    notes: Annotated[list[str], Topic(str, accumulate=True)] = field(default_factory=list)
    delta: Annotated[list[str], DeltaChannel(joined)] = field(default_factory=list)
    messages: Messages = field(default_factory=list)
    plain: str = ""


def begun() -> dict[str, Any]:
    messages = [HumanMessage("hi", id="1")]
    values = {"odd": 3, "log": ["l"], "words": {"a": 1}, "notes": ["n"], "delta": ["d"], "plain": ""}
    return {**values, "messages": messages}


def updates(random: Random) -> dict[str, Any]:
    n = random.randrange(1000)
    every: dict[str, Any] = {
        "odd": n,
        "top": n,
        "log": [f"l{n}"],
        "words": {random.choice("abc"): n},
        "notes": random.choice([f"n{n}", [f"n{n}", "n"]]),
        "delta": [f"d{n}"],
        "messages": random.choice([("ai", f"m{n}"), [AIMessage(f"m{n}")], [AIMessage(f"m{n}", id="edited")]]),
    }
    return {name: every[name] for name in random.sample(list(every), random.randrange(1, 5))}


def take_back(state: Any) -> dict[str, Any]:
    messages = state["messages"] if isinstance(state, dict) else state.messages
    return {"messages": [RemoveMessage(messages[-1].id)]}


def typed(function: Any, state: Any) -> Any:
    def node(values: Any) -> Any:
        return function(values)

    node.__annotations__["values"] = state
    return node


def shown(values: Any) -> dict[str, Any]:
    told = {name: values.get(name) for name in Odd.__annotations__}
    return {**told, "messages": [message.content for message in told["messages"]]}
