"""Parts that are nested at random write what flat ones do."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.channels import DeltaChannel, Topic

from stepgraph import Budget, Session, chain, section, within

from .writes_cases import (
    Messages,
    Odd,
    begun,
    best,
    counted_words,
    grow,
    joined,
    shift,
    shown,
    take_back,
    typed,
    updates,
    writing,
)


class OddDict(TypedDict, total=False):
    odd: Annotated[int, shift]
    top: Annotated[int | None, best]
    log: Annotated[list[str], grow]
    words: Annotated[dict[str, int], counted_words]
    notes: Annotated[list[str], Topic(str, accumulate=True)]
    delta: Annotated[list[str], DeltaChannel(joined)]
    messages: Messages
    plain: str


def parts_of(random: Random, state: Any) -> list[Any]:
    """Return nodes, one of which may take back the message before it."""
    if random.random() < 0.2:
        remove = writing({}, state)
        remove = typed(take_back, state)
        return [writing({"messages": [("ai", "taken back")]}, state), remove]
    return [writing(updates(random), state) for _ in range(random.randrange(1, 4))]


def nested_at_random(random: Random, parts: list[Any], depth: int) -> list[Any]:
    if not depth:
        return parts
    cut = random.randrange(len(parts) + 1)
    inner = nested_at_random(random, parts[cut:], depth - 1)
    return [*parts[:cut], *([chain(*inner, name=f"level_{depth}")] if inner else [])]


@pytest.mark.parametrize("state", [Odd, OddDict])
@pytest.mark.parametrize("seed", range(6))
def test_what_is_nested_at_random_gives_what_is_flat(seed: int, state: Any, session: Session) -> None:
    random = Random(seed)
    branches = {name: parts_of(random, state) for name in "abc"[: random.randrange(1, 4)]}
    flat = chain(*(part for parts in branches.values() for part in parts)).compile()
    expected = shown(flat.invoke(begun()))
    sections = {
        name: chain(*nested_at_random(random, parts, random.randrange(4)), name=name)
        for name, parts in branches.items()
    }
    side_by_side = section(sections)
    in_turn = chain(*sections.values())
    for number, graph in enumerate(
        (side_by_side, in_turn, chain(chain(side_by_side)), within(in_turn, Budget()))
    ):
        app = graph.compile()
        assert shown(app.invoke(begun())) == expected
        assert shown(asyncio.run(app.ainvoke(begun(), session.config(f"{number}")))) == expected
        assert shown(list(app.stream(begun(), stream_mode="values"))[-1]) == expected
