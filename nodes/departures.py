"""Where a replay would do something in the world that the recorded run did not do, it stops."""

from __future__ import annotations

from typing import Literal, NoReturn

from langgraph.types import interrupt

from ..state.names import DEPARTED
from ..state.run_context import RunContext

ALLOW = {"effect": "--allow-effects {name}", "tool": "--allow-tools"}


def depart(here: RunContext, what: Literal["effect", "tool"], name: str, shown: str) -> NoReturn:
    """Stop this branch of a replay, because the record does not know what is to happen; nothing happens.

    Other branches go on. A later run of the replay comes here again, and goes on if it may.
    """
    allow = ALLOW[what].format(name=name)
    payload = {
        "kind": DEPARTED,
        "what": what,
        "name": name,
        "path": here.path,
        "problem": f"The {what} {shown} is not on record, so it was not done. To do it: {allow}.",
    }
    while True:
        interrupt(payload)
