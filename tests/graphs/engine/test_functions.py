"""Whatever writes a wrong type is told before the state has it, in every kind of state and of node."""

import operator
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.types import Command
from pydantic import BaseModel

from stepgraph import Session, chain, effect, rule, run, section
from stepgraph.state.errors import InputError


@dataclass
class AsDataclass:
    score: int = 0
    log: Annotated[list[str], operator.add] = field(default_factory=list)


class AsTypedDict(TypedDict, total=False):
    score: int
    log: Annotated[list[str], operator.add]


class AsModel(BaseModel):
    score: int = 0
    log: Annotated[list[str], operator.add] = []


STATES = [AsDataclass, AsTypedDict, AsModel]


def nodes_over(state: Any, value: Any) -> dict[str, Any]:
    def plain(given: state) -> dict[str, Any]:
        return {"score": value, "log": ["x"]}

    async def slow(given: state) -> dict[str, Any]:
        return {"score": value, "log": ["x"]}

    def command(given: state) -> Command[Any]:
        return Command(update={"score": value, "log": ["x"]})

    def commands(given: state) -> list[Any]:
        return [Command(update={"log": ["x"]}), Command(update={"score": value})]

    @rule("score")
    def counted(given: state) -> Any:
        return value

    @effect
    def done(given: state) -> dict[str, Any]:
        return {"score": value}

    made: dict[str, Any] = {f.name if hasattr(f, "name") else f.__name__: f for f in (counted, done)}
    return made | {f.__name__: f for f in (plain, slow, command, commands)}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", ["plain", "slow", "command", "commands", "counted", "done", "in_a_section"])
def test_a_wrong_type_is_told(state: Any, kind: str, session: Session) -> None:
    def part(value: Any) -> Any:
        if kind == "in_a_section":
            return section({"score": nodes_over(state, value)["plain"]})
        return chain(nodes_over(state, value)[kind])

    assert part(4).compile().invoke({})["score"] == 4
    for graph in (part("many"), chain(part("many"))):
        with pytest.raises(
            InputError, match=rf"wrote 'many' to {state.__name__}\.score: .*expected int, got str"
        ):
            run(graph.compile(), {}, session)
