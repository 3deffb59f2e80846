"""A wait: the run stands still until a time has come, without a process, over restarts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, overload

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.types import interrupt
from langgraph.typing import StateT

from ..state.errors import DefinitionError, InputError
from ..state.journal.waits import end_wait
from ..state.names import WAIT
from ..state.run_context import RunContext
from ..state.schema import signature_types
from .deadlines import Deadline, Moment, Until
from .node import Node, Update, record_decision

NOW = "now"


class Wait(Node[StateT]):
    """One graph node that lets the run go on when a time has come. Made by `wait`."""

    def __init__(self, until: Until, name: str, *, is_named: bool) -> None:
        self.name = name
        self.is_named = is_named  # by the user: others get a number where there are several
        self.deadline = Deadline(until, f"Wait {name!r}")
        self.state: Any = None  # that of the parts beside it
        if callable(until) and getattr(until, "__annotations__", None):
            self.state = signature_types(until)[0]

    @property
    def promise(self) -> str:
        """What a graph with this node promises."""
        return f"The wait {self.name!r} keeps its time"

    async def ainvoke(self, input: StateT, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        config = config or var_child_runnable_config.get()
        here = RunContext.of(config)
        session = here.session
        if session is None or not here.checkpointer:
            here.check_kept(self.promise)
            raise InputError(
                f"Wait {self.name!r} lasts longer than a process may, so the run must be kept until then: "
                "give it a session, app.invoke(state, session.config(thread_id))."
            )
        wait = await self.deadline.begin("wait", self.name, input, config, session)
        if wait.status != "waiting":
            return {}
        due = wait.until.isoformat()
        question: dict[str, Any] = {"kind": WAIT, "wait": self.name, "due": due, "path": here.path}
        early: str | None = None
        while session.now() < wait.until and early is None:
            answer = interrupt(question)
            early = _early(answer)
            question["problem"] = (
                f"It is not time yet. To go on all the same, answer {NOW!r}, or "
                f'{{"decision": {NOW!r}, "by": …, "reason": …}}.'
            )
        choice = "its time came" if early is None else "went on early"
        reason = f"due {due}" if not early else f"due {due}, {early}"
        record_decision(config, "wait", choice, reason=reason)
        await end_wait(session.journal, wait, "over" if early is None else "answered", session.now())
        return {}


def _early(answer: Any) -> str | None:
    """Return who lets the run go on before its time, and why; None if the answer does not say so."""
    fields = answer if isinstance(answer, Mapping) else {"decision": answer}
    if str(fields.get("decision")).strip().lower() != NOW:
        return None
    by, reason = (str(fields.get(name) or "").strip() for name in ("by", "reason"))
    return ": ".join(part for part in (by and f"by {by}", reason) if part)


@overload
def wait(
    *, until: Callable[[StateT], Moment | Awaitable[Moment]], name: str | None = None
) -> Wait[StateT]: ...
@overload
def wait(*, until: datetime | timedelta | str, name: str | None = None) -> Wait[Any]: ...
def wait(*, until: Until, name: str | None = None) -> Wait[Any]:
    """Let the run wait until a time has come: for a minute or a month, over restarts, without a process.

    `until` is a datetime with its zone, a timedelta from when the wait is first reached, the name of a field
    that holds either, or a function of the state that returns either, sync or async. It is asked once: what
    it said first stands.

    The thread waits in the session's file, as for a review. Nobody sleeps: `stepgraph resume --due`, or
    `resume` in Python, goes on with it once its time has come, and leaves it as it is before; `due(session)`
    lists what can go on. A person may let it go on early: `Command(resume="now")`. Costs no model call.

        chain(invite, wait(until=timedelta(days=3)), remind)
    """
    if name is not None and not name:
        raise DefinitionError("wait(name=''): expected a name.")
    own = until if isinstance(until, str) else getattr(until, "__name__", None)
    called = f"until_{own}" if own and own.isidentifier() else "wait"
    return Wait(until, name or called, is_named=name is not None)
