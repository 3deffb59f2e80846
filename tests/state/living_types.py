"""Writes generated values to the states of three workflows and is killed; a second life compares them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import warnings
from dataclasses import dataclass, field
from typing import Any, TypedDict

from hypothesis import HealthCheck, Phase, given, settings
from pydantic import BaseModel

from stepgraph import Session, aresume, arun, chain

from .test_codec import State, same, values

VALUES = 60


@dataclass
class AsDataclass(State):
    things: list[Any] = field(default_factory=list)


class AsModel(BaseModel):
    things: Any = None
    after: Any = None


class AsTypedDict(TypedDict, total=False):
    things: Any
    after: Any


STATES = (AsDataclass, AsModel, AsTypedDict)


def generated() -> list[Any]:
    """Return values that are the same ones in every process."""
    made: list[Any] = []

    @given(values)
    @settings(
        max_examples=VALUES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def make(value: Any) -> None:
        made.append(value)

    make()
    return made


def workflow(state: Any, things: list[Any], together: asyncio.Barrier | None, seen: dict[str, Any]) -> Any:
    def write(given: Any) -> dict[str, Any]:
        return {"things": list(things)}

    async def hold(given: Any) -> dict[str, Any]:
        if together is not None:
            await together.wait()  # all three have written
            os.kill(os.getpid(), signal.SIGKILL)
        found = given["things"] if isinstance(given, dict) else given.things
        pairs = zip(found, things, strict=True)
        seen[state.__name__] = [repr(is_now) for is_now, was in pairs if not same(is_now, was)]
        return {"after": "compared"}

    for node in (write, hold):
        node.__annotations__["given"] = state
    return chain(write, hold, name=state.__name__).compile()


async def live(file: str, *, first: bool) -> dict[str, Any]:
    things = generated()
    seen: dict[str, Any] = {"values": len(things)}
    together = asyncio.Barrier(len(STATES)) if first else None
    with Session(file) as session:
        works = [(workflow(state, things, together, seen), state) for state in STATES]
        if first:
            await asyncio.gather(*(arun(app, state(), session, state.__name__) for app, state in works))
        else:
            for app, state in works:
                await aresume(app, session, state.__name__)
    return seen


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(asyncio.run(live(sys.argv[1], first=sys.argv[2] == "first"))))
