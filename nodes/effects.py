"""An effect: a node that does something outside, such as sending an e-mail, once and not again."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Concatenate, Generic, Protocol, overload
from weakref import WeakKeyDictionary

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import GraphBubbleUp
from langgraph.typing import StateT
from pydantic import ValidationError

from ..state.errors import DefinitionError, InputError, StoreError
from ..state.event_loops import in_thread
from ..state.fitting import fitted
from ..state.journal.effects import (
    EffectRecord,
    Started,
    begin_effect,
    end_effect,
    find_effect,
    forget_effect,
    leave_effect,
    lineage_of,
    packed,
    unknown,
    unpacked,
)
from ..state.journal.journal import Journal
from ..state.json_text import json_text
from ..state.run_context import RunContext
from ..state.schema import (
    StateType,
    caller_names,
    check_fields,
    is_state_type,
    signature_types,
    validate_field,
    values_of,
)
from ..state.serde import allow
from ..state.session.internals import node_of
from ..state.session.session import Session
from ..tracing.forks.recorded import RecordedRun, recorded_run
from .departures import depart
from .node import Node, Update

Function = Callable[Concatenate[StateT, ...], Any]

LOOK_AGAIN_S = 0.2

_under_way: WeakKeyDictionary[Journal, dict[str, Future[None]]] = WeakKeyDictionary()
_lock = threading.Lock()


class _NotBegun(Exception):
    """The run has lost its thread since the effect's beginning was put on record: nothing has happened.

    Its process may have stood still. Somebody may have decided that nothing happened, and another run do it.
    """

    def __init__(self, why: Exception) -> None:
        super().__init__(str(why))
        self.why = why


@dataclass(eq=False, repr=False)
class Effect(Node[StateT], Generic[StateT]):
    """One graph node with a side effect, which happens once for each key. Made by `effect`."""

    function: Function[StateT]
    state: StateType
    key: Callable[[StateT], object] | None
    reads: tuple[str, ...]
    undone: tuple[type[Exception], ...]
    retry: bool
    may_ask: bool = False  # a question to a person says that nothing has happened yet

    def __post_init__(self) -> None:
        self.__doc__ = self.function.__doc__
        self.name = self.function.__name__
        self._takes_key = "key" in inspect.signature(self.function).parameters
        self._async = inspect.iscoroutinefunction(self.function)
        self._node = node_of(None, self.function) if self._async else node_of(self.function)
        allow(self.state)

    @property
    def promise(self) -> str:
        """What a graph with this node promises."""
        return f"The effect {self.name!r} happens once"

    def key_of(self, state: StateT, config: RunnableConfig | None = None) -> str:
        """Return the key under which the effect happens once; without a session it has no lineage."""
        if self.key is not None:
            own = self.key(state)
            if own is None or own == "":
                raise InputError(
                    f"The key of effect {self.name!r} is {own!r}, so all effects without one would count as "
                    "the same. Return what tells them apart, such as an order's id."
                )
            return f"{self.name}:{own}"
        here = RunContext.of(config)
        line = lineage_of(here.session.journal, here.thread_id) if here.session else here.thread_id
        values = values_of(state)
        read = {name: self._content(name, values.get(name)) for name in self.reads or sorted(values)}
        content = json_text([line, here.path, read])
        return f"{self.name}:{hashlib.sha256(content.encode('utf-8', 'replace')).hexdigest()[:20]}"

    def _content(self, field: str, value: Any) -> Any:
        """Return a field's value as plain data that is the same in every process."""
        if isinstance(value, (set, frozenset)):
            return sorted(json_text(self._content(field, item)) for item in value)
        if isinstance(value, (list, tuple)):
            return [self._content(field, item) for item in value]
        if is_state_type(type(value)):
            value = values_of(value)
        if isinstance(value, Mapping):
            items = ((str(name), self._content(field, item)) for name, item in value.items())
            return dict(sorted(items, key=itemgetter(0)))
        if not isinstance(value, str) and " at 0x" in (text := json_text(value)):
            raise InputError(
                f"The field {field!r} holds {text:.80}, which is another one after a resume, so effect "
                f"{self.name!r} would not be known again. Name what tells it apart: effect(key=…) or reads=…."
            )
        return value

    async def ainvoke(self, input: StateT, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        config = config or var_child_runnable_config.get()
        here = RunContext.of(config)
        session = here.session
        if session is None:
            here.check_kept(self.promise)
            return await self._do(input, config, self.key_of(input, config), here)
        await session.journal.until_free()
        key = self.key_of(input, config)
        recorded = recorded_run(here)
        if recorded is not None and not recorded.allows(self.name):
            return await self._as_recorded(input, key, here, session, recorded)
        async with _turn(session.journal, key):
            record = await self._begin(session, key, here)
            if isinstance(record, Started):
                return await self._happen(input, config, session, record, here)
            if record.status == "started":
                raise unknown(record)
            return self._recorded(record, session)

    async def _as_recorded(
        self, state: StateT, key: str, here: RunContext, session: Session, recorded: RecordedRun
    ) -> dict[str, Any]:
        """Return what the effect wrote in the recorded run; one that is not on record does not happen."""
        record = find_effect(session.journal, key)
        if record is None and self.key is None:
            known = await recorded.effect_key(here.path, state)
            record = None if known is None else find_effect(session.journal, known)
        if record is None or record.status != "done":
            depart(here, "effect", self.name, repr(key))
        return self._recorded(record, session)

    async def _begin(self, session: Session, key: str, here: RunContext) -> Started | EffectRecord:
        """Begin, or return the record that is in the way; waits for another thread that is at it."""
        left: EffectRecord | None = None
        while True:
            await here.check_claim()
            epoch = session.claims.epoch_of(here.thread_id)
            place = here.thread_id, here.path
            record = await begin_effect(session.journal, key, *place, again=self.retry, epoch=epoch)
            if (
                isinstance(record, Started)
                or record.status == "done"
                or record.error
                or record.thread_id == here.thread_id
            ):
                return record
            if record == left:
                return record
            if await in_thread(session.claims.is_run, record.thread_id):
                await asyncio.sleep(LOOK_AGAIN_S)
            else:
                left = record  # or it ended, and then its thread, since it was read: look once more

    async def _happen(
        self,
        state: StateT,
        config: RunnableConfig | None,
        session: Session,
        started: Started,
        here: RunContext,
    ) -> dict[str, Any]:
        journal, key = session.journal, started.key
        try:
            update = await self._do(state, config, key, here)
        except _NotBegun as late:
            with suppress(StoreError):
                await forget_effect(journal, started)
            raise late.why from None
        except GraphBubbleUp:
            if self.may_ask:
                await forget_effect(journal, started)
                raise
            raise DefinitionError(
                f"Effect {self.name!r} interrupted. It would begin anew when the thread goes on, and repeat "
                "what it did before: ask in a node of its own, in front of the effect. If nothing had "
                f"happened yet: session.decide_effect({key!r}, happened=False)."
            ) from None
        except self.undone:
            await forget_effect(journal, started)
            raise
        except Exception as error:
            if not self.retry:
                error.add_note(
                    f"Nobody knows whether the effect {key!r} happened, so it is not tried again by itself."
                )
                with suppress(StoreError):
                    await leave_effect(journal, started, f"{type(error).__name__}: {error}")
            raise
        try:
            await end_effect(journal, started, packed(update, session.checkpointer.serde))
        except Exception as error:
            error.add_note(
                f"The effect {key!r} happened, but that could not be put on record. Say so before the thread "
                f"goes on: session.decide_effect({key!r}, happened=True, update=…)."
            )
            raise
        return update

    async def _do(
        self, state: StateT, config: RunnableConfig | None, key: str, here: RunContext
    ) -> dict[str, Any]:
        keys = {"key": key} if self._takes_key else {}
        if self._async:
            try:
                await here.check_claim()
            except Exception as error:
                raise _NotBegun(error) from None
            update = await self._node.ainvoke(state, config, **keys)
        else:
            update = await in_thread(self._do_here, state, config, here, keys)
        if update is None:
            return {}
        if not isinstance(update, Mapping):
            raise DefinitionError(
                f"Effect {self.name!r} returned {type(update).__name__}; expected a state update (a dict) or "
                "None. Route in a node behind it."
            )
        writer = f"Effect {self.name!r}"
        check_fields(self.state, update, writer)
        return {field: fitted(self.state, field, value, writer) for field, value in update.items()}

    def _do_here(
        self, state: StateT, config: RunnableConfig | None, here: RunContext, keys: Mapping[str, str]
    ) -> Any:
        try:
            here.check_claim_at_once()
        except Exception as error:
            raise _NotBegun(error) from None
        return self._node.invoke(state, config, **keys)

    def _recorded(self, record: EffectRecord, session: Session) -> dict[str, Any]:
        update, exact = unpacked(record.result, session.checkpointer.serde)
        check_fields(self.state, update, f"The effect {record.key!r}, as it is on record,")
        if exact:
            return update
        try:
            return {name: validate_field(self.state, name, value) for name, value in update.items()}
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"]
            raise InputError(f"The update decided for the effect {record.key!r}: {problem}.") from None


@asynccontextmanager
async def _turn(journal: Journal, key: str) -> AsyncIterator[None]:
    """Wait until nobody else in this process, in whatever event loop, is at an effect with this key."""
    mine: Future[None] = Future()
    while True:
        with _lock:
            others = _under_way.setdefault(journal, {})
            other = others.setdefault(key, mine)
        if other is mine:
            break
        await asyncio.shield(asyncio.wrap_future(other))
    try:
        yield
    finally:
        with _lock:
            del others[key]
        mine.set_result(None)


class _Decorator(Protocol):
    def __call__(self, function: Function[StateT], /) -> Effect[StateT]: ...


@overload
def effect(function: Function[StateT], /) -> Effect[StateT]: ...
@overload
def effect(
    *,
    key: Callable[[Any], object] | None = None,
    reads: tuple[str, ...] = (),
    undone: tuple[type[Exception], ...] = (),
    retry: bool = False,
) -> _Decorator: ...
def effect(
    function: Any = None,
    /,
    *,
    key: Callable[[Any], object] | None = None,
    reads: tuple[str, ...] = (),
    undone: tuple[type[Exception], ...] = (),
    retry: bool = False,
) -> Any:
    """Make a node function with a side effect happen once for each key, whatever is replayed or forked.

    What it wrote the first time is written again in its place. The key is the function's name and
    `key(state)`, in all threads of the file. Without `key`, it is made of the thread (forks count as
    the thread they come from), the node's path, and the content of the fields named in `reads`, or of
    the whole state. A function with a parameter `key` is given it.

    If a crash or an exception leaves open whether it happened, EffectUnknown is raised instead of a
    second try, until somebody decides. Exceptions in `undone` prove that nothing happened; `retry`
    says that the receiver takes the key and sorts out repetitions itself. Without a session there is
    no guard.

        @effect(key=lambda order: order.id)
        def charge(order: Order, key: str) -> dict[str, str]:
            return {"receipt": shop.charge(order.total, idempotency_key=key)}
    """
    namespace = caller_names()

    def decorate(function: Any) -> Effect[Any]:
        state = signature_types(function, namespace)[0]
        if retry and "key" not in inspect.signature(function).parameters:
            raise DefinitionError(
                f"effect(retry=True): {function.__name__} takes no `key`, so the receiver cannot tell a "
                f"repetition. Write def {function.__name__}(state, key: str), and send the key along."
            )
        check_fields(state, reads, f"effect(reads=…) on {function.__name__!r}")
        return Effect(function, state, key, reads, undone, retry)

    return decorate if function is None else decorate(function)
