"""From a step's model role to the model that answers."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable

from ...state.errors import DefinitionError, UnboundRole
from ...state.run_context import RunContext
from ...state.session.session import Session
from ..backends.backend import Backend, PlainBackend
from ..backends.langchain import ChatModel
from ..backends.langchain_wrappers import plain_chats
from ..model import Model
from ..provider_table import LOCAL
from ..settings import (
    DEFAULT_ROLE,
    FILE_NAME,
    ChainSettings,
    ModelSettings,
    binding_of,
    bound_roles,
    environment_variable,
    is_loaded,
    named_binding,
    parse_binding,
    parse_spec,
)
from .stack import GIVEN_PROVIDER, Member, ModelStack, from_settings, member_of, stacked

EVERY_ROLE = "*"
NOWHERE = RunContext.of(None)
_TABLE = {"provider", "model", "base_url", "models"}  # what makes a table of settings of a dict
GIVEN = ModelSettings(model="", provider=GIVEN_PROVIDER)

ModelLike = str | Mapping[str, Any] | ModelSettings | Runnable[Any, AIMessage] | Model
Bindable = ModelLike | ChainSettings | Sequence[ModelLike]


RoleModels = Bindable | Mapping[str, Bindable]
"""What `models=` takes: a model for every role, or a dict of roles."""

MARK = "STEPGRAPH_USING"  # in the environment while a block is open, for processes that begin inside it


class UsingElsewhereWarning(UserWarning):
    """The settings' model answers, although a `using` block is open that is not around the call."""


@dataclass(eq=False)
class _Block:
    """A `using` block: what it binds, with all that the blocks around it bind."""

    models: Mapping[str, ModelStack]
    outer: _Block | None
    alone: bool  # nothing from outside of the blocks counts, but the settings
    closed: bool = False


_current: ContextVar[_Block | None] = ContextVar("stepgraph_models")
_current.set(None)  # contexts that come from here know that no block is open; those of plain threads do not
_open: list[_Block] = []
_lock = threading.Lock()
_of_sessions: WeakKeyDictionary[Session, Mapping[str, ModelStack]] = WeakKeyDictionary()


def _block_here() -> _Block | None:
    """Return the block around this code. Raises UnboundRole in a thread for which it could be one of several.

    A thread of a pool starts without the context of the code that waits for it. It works in the block that
    is open, if there is but one.
    """
    try:
        block = _current.get()
    except LookupError:
        pass
    else:
        while block is not None and block.closed:
            block = block.outer
        return block
    with _lock:
        around = {block.outer for block in _open}
        innermost = [block for block in _open if block not in around]
    if len(innermost) > 1:
        raise UnboundRole(
            "This thread was started without its caller's context, and several using(…) blocks are open, so "
            "nobody knows which one binds its models. Hand the context over: "
            "pool.submit(contextvars.copy_context().run, app.invoke, state); or open using(…) in the thread; "
            "using() without models stands for the settings. Models for all threads are bound at the start: "
            "Session(models=…) or compile(models=…)."
        )
    return next(iter(innermost), None)


@contextmanager
def using(every: Bindable | None = None, /, **roles: Bindable) -> Iterator[None]:
    """Bind model roles for the calls made inside the `with` block, over all else that binds them.

    A positional model answers for every role that is not named. A binding is a spec such as
    "local" or "openai:gpt-5-mini", a table of settings, a LangChain chat model, a `Model`, or a list of
    these: where one fails, the next is asked. A table with such a list as `models` may say for what.
    Without any model, the block stands for settings and environment alone.

    It holds for all code that runs in its context: tasks, `asyncio.to_thread`, nodes. A thread that was
    started without a context, as by ThreadPoolExecutor, works in the one block that is open; while several
    are, it raises UnboundRole, or takes what session and graph bind. What is to answer for a whole program
    is bound there: `Session(models=…)`, `compile(models=…)`.

        with using("local", large=["openai:gpt-5-mini", "local"]):
            app.invoke(Post("tea"))
    """
    bound = {name.lower(): as_model(model, f"using({name}=…)") for name, model in roles.items()}
    if every is not None:
        bound[EVERY_ROLE] = as_model(every, "using(…)")
    outer = _current.get(None)
    alone = not bound or (outer is not None and outer.alone)
    block = _Block(layered({} if outer is None or not bound else outer.models, bound), outer, alone)
    token = _current.set(block)
    with _lock:
        _open.append(block)
        os.environ[MARK] = "1"
    try:
        yield
    finally:
        with _lock:
            _open.remove(block)
            if not _open:
                os.environ.pop(MARK, None)
        try:
            _current.reset(token)
        except ValueError:  # a generator that another context closes
            block.closed = True


def bindings_here() -> Callable[[], AbstractContextManager[None]]:
    """Return what opens a block with the bindings of this place, whatever is bound where it is opened."""
    here = _block_here()

    @contextmanager
    def block() -> Iterator[None]:
        token = _current.set(here)
        try:
            yield
        finally:
            _current.reset(token)

    return block


def layered(outer: Mapping[str, ModelStack], inner: Mapping[str, ModelStack]) -> Mapping[str, ModelStack]:
    """Return what two layers bind together: the inner one counts, for every role if it binds every role."""
    return inner if EVERY_ROLE in inner else {**outer, **inner}


def bound_models(models: RoleModels, where: str) -> Mapping[str, ModelStack]:
    """Return the models behind roles that `models=` stands for; a dict is one of roles, unless it is a table
    of settings. Raises SettingsError or DefinitionError that names `where`.
    """
    if not isinstance(models, Mapping) or _TABLE & models.keys():
        return {EVERY_ROLE: as_model(models, where)}
    return {name.lower(): as_model(model, f"{where}, role {name!r}") for name, model in models.items()}


def _bound_outside(run: RunContext) -> Mapping[str, ModelStack]:
    """Return what a run's graphs and its session bind."""
    session = run.session
    if session is None or session.models is None:
        return run.models
    if session not in _of_sessions:
        _of_sessions[session] = bound_models(session.models, "Session(models=…)")
    return layered(_of_sessions[session], run.models)


def as_model(model: Bindable, where: str) -> ModelStack:
    """Return the full stack for whatever names or is a model, or a list of those to be asked in turn."""
    if isinstance(model, ModelStack):
        return model
    if isinstance(model, (ModelSettings, ChainSettings)):
        return from_settings(model)
    if isinstance(model, str) and (own := named_binding(model)) is not None:
        return from_settings(own)
    if isinstance(model, Mapping) and not all(isinstance(one, (str, Mapping)) for one in _models_in(model)):
        policy = cast("ChainSettings", parse_binding({**model, "models": [LOCAL]}, where))
        members = [member for one in _models_in(model) for member in _members(one, where)]
        return stacked(*members, on=policy.on, min_confidence=policy.min_confidence)
    if isinstance(model, (str, Mapping)):
        return from_settings(parse_binding(model, where))
    if isinstance(model, (Runnable, Model)) or not isinstance(model, (list, tuple)):
        return stacked(*_members(cast("ModelLike", model), where))
    if not model:
        raise DefinitionError(f"{where}: an empty list names no model.")
    return stacked(*(member for one in model for member in _members(one, where)))


def _models_in(table: Mapping[str, Any]) -> Sequence[Any]:
    models = table.get("models", ())
    return models if isinstance(models, (list, tuple)) else ()


def _members(model: ModelLike, where: str) -> tuple[Member, ...]:
    """Return the member that a model stands for; the models of a LangChain model with fallbacks."""
    if isinstance(model, ModelStack) and len(model.members) == 1:
        return model.members
    if isinstance(model, type):
        raise DefinitionError(f"{where}: {model.__name__} is a class. Make an instance: {model.__name__}(…).")
    if isinstance(model, ModelSettings):
        return (member_of(model),)
    if isinstance(model, (str, Mapping)):
        return (member_of(parse_spec(model, where)),)
    if isinstance(model, Model):
        backend = model if isinstance(model, Backend) else PlainBackend(model)
        return (Member(backend, GIVEN.model_copy(update={"price": backend.price})),)
    if isinstance(model, Runnable):
        plain = plain_chats(model, where)
        return tuple(Member(ChatModel(one.chat, one.arguments, one.config), GIVEN) for one in plain)
    raise DefinitionError(
        f"{where}: {type(model).__name__} is no model. Expected a role, a spec such as 'local', "
        "a LangChain chat model, an object with `name` and `async complete(request, context)`, or a list of "
        "these."
    )


def find_model(role: str | None, run: RunContext = NOWHERE) -> ModelStack:
    """Return the model bound to a role. Raises UnboundRole, which says how to bind it.

    The block around the call counts first, then the run's graphs and session, environment, settings file.
    """
    wanted = (role or DEFAULT_ROLE).lower()
    overrides, block = _overrides(wanted, run)
    return _overriding(wanted, overrides) or _by_settings(wanted, overrides, block)


def _overrides(wanted: str, run: RunContext) -> tuple[Mapping[str, ModelStack], _Block | None]:
    """Return what binds models here, over the settings, and the block around the call."""
    overrides = _bound_outside(run)
    try:
        block = _block_here()
    except UnboundRole:
        if wanted not in overrides and EVERY_ROLE not in overrides:
            raise
        block = None
    if block is not None:
        overrides = block.models if block.alone else layered(overrides, block.models)
    return overrides, block


def _overriding(wanted: str, overrides: Mapping[str, ModelStack]) -> ModelStack | None:
    return overrides.get(wanted) or overrides.get(EVERY_ROLE)


def _by_settings(wanted: str, overrides: Mapping[str, ModelStack], block: _Block | None) -> ModelStack:
    """Return the model that the settings bind; the role "default" is the last that counts."""
    settings = binding_of(wanted)
    if settings is None and DEFAULT_ROLE in overrides:
        return overrides[DEFAULT_ROLE]
    settings = settings or binding_of(DEFAULT_ROLE)
    if settings is not None:
        _tell_of_others(wanted, block)
        return from_settings(settings)
    known = sorted({*overrides, *bound_roles()})
    bound = f" Bound roles: {', '.join(known)}." if known else ""
    variable = environment_variable(wanted)
    raise UnboundRole(
        f"No model is bound to the role {wanted!r}.{bound} Bind it in {FILE_NAME} ([models] {wanted} = "
        f'"local"), in the environment ({variable}=openai:gpt-5-mini), or in Python '
        f"(using({wanted}=\"local\"), Session(models=…), compile(models=…)). 'local' is the model on this "
        "machine."
    )


def _tell_of_others(role: str, block: _Block | None) -> None:
    """Say so where the settings answer, and a block that is not around the call may be meant to."""
    if block is not None:
        return
    if _open:
        warnings.warn(
            f"The settings' model answers for the role {role!r}: a using(…) block is open, but not around "
            "this call. If it is meant for this call too, hand its context over, or bind the models where "
            "the program starts: Session(models=…) or compile(models=…).",
            UsingElsewhereWarning,
            stacklevel=5,
        )
    elif MARK in os.environ and multiprocessing.parent_process() is not None:
        raise UnboundRole(
            f"The role {role!r} would be answered by the settings' model, but a using(…) block was open in "
            "the process that started this one, and models do not travel between processes. Open using(…) in "
            "this process; using() without models stands for the settings. Or bind the models where it "
            "starts: Session(models=…) or compile(models=…)."
        )


async def find_model_async(role: str | None, run: RunContext = NOWHERE) -> ModelStack:
    """Like `find_model`, without reading files in the event loop."""
    if is_loaded():
        return find_model(role, run)
    session = run.session
    if session is not None and session.models is not None and session not in _of_sessions:
        return await asyncio.to_thread(find_model, role, run)
    wanted = (role or DEFAULT_ROLE).lower()
    overrides, block = _overrides(wanted, run)
    override = _overriding(wanted, overrides)
    if override is not None:
        return override
    return await asyncio.to_thread(_by_settings, wanted, overrides, block)
