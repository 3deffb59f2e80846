"""From a step's model role to the model that answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from langchain_core.language_models import BaseChatModel

from ..state.errors import DefinitionError, UnboundRole
from .budgeting import Budgeted
from .chat import ChatModel
from .endpoint import Endpoint
from .journaling import Journaled, Replayed
from .model import Model
from .ondevice import OnDevice
from .settings import (
    DEFAULT_ROLE,
    FILE_NAME,
    FREE,
    LOCAL,
    ModelSettings,
    binding_of,
    bound_roles,
    environment_variable,
    is_loaded,
    parse_spec,
)
from .sharing import Shared
from .wrappers import Capped, Priced, Retried

EVERY_ROLE = "*"

Bindable = str | Mapping[str, Any] | ModelSettings | BaseChatModel | Model

_overrides: ContextVar[Mapping[str, Model]] = ContextVar("stepgraph_models", default=MappingProxyType({}))


@contextmanager
def using(every: Bindable | None = None, /, **roles: Bindable) -> Iterator[None]:
    """Bind model roles for the calls made inside the `with` block, over settings and environment.

    A positional model answers for every role that is not named. A binding is a spec such as
    "local" or "openai:gpt-5-mini", a table of settings, a LangChain chat model, or a `Model`.

        with using("local", large="openai:gpt-5-mini"):
            app.invoke(Post("tea"))
    """
    bound = {name.lower(): as_model(model, f"using({name}=…)") for name, model in roles.items()}
    if every is not None:
        bound[EVERY_ROLE] = as_model(every, "using(…)")
    outer = _overrides.get()
    if EVERY_ROLE in bound:
        outer = {}
    token = _overrides.set({**outer, **bound})
    try:
        yield
    finally:
        _overrides.reset(token)


def as_model(model: Bindable, where: str) -> Model:
    """Return the full stack for whatever names or is a model."""
    if isinstance(model, type):
        raise DefinitionError(f"{where}: {model.__name__} is a class. Make an instance: {model.__name__}(…).")
    if isinstance(model, ModelSettings):
        return _from_settings(model)
    if isinstance(model, (str, Mapping)):
        return _from_settings(parse_spec(model, where))
    if isinstance(model, BaseChatModel):
        return stacked(ChatModel(model), ModelSettings(model="", provider="given"))
    if isinstance(model, Model):
        price = getattr(model, "price", None)
        return stacked(model, ModelSettings(model="", provider="given", price=price))
    raise DefinitionError(
        f"{where}: {type(model).__name__} is no model. Expected a role, a spec such as 'local', a "
        "LangChain chat model, or an object with `name` and `async complete(request, site)`."
    )


def stacked(model: Model, settings: ModelSettings) -> Model:
    """Wrap a model in all that happens around a call."""
    capped = Capped(model, settings.max_concurrency)
    recorded = Journaled(Priced(capped, settings.price))
    budgeted = Budgeted(recorded, settings.price, settings.max_tokens)
    return Replayed(Shared(Retried(budgeted, settings.retries)), _identity(model, settings))


def _identity(model: Model, settings: ModelSettings) -> str:
    """Return what makes two models give different answers to one request; never a key."""
    own = settings.model_dump(include={"structured", "temperature", "max_tokens"}, exclude_none=True)
    return f"{model.name} {getattr(model, 'address', '')} {own or ''}".rstrip()


@lru_cache(maxsize=256)
def _from_settings(settings: ModelSettings) -> Model:
    if settings.provider == LOCAL:
        path = Path(settings.model) if settings.model else None
        local = settings.model_copy(update={"price": settings.price or FREE, "max_concurrency": 1})
        return stacked(OnDevice(path, local), local)
    return stacked(Endpoint(settings), settings)


def find_model(role: str | None) -> Model:
    """Return the model bound to a role. Raises UnboundRole, which says how to bind it."""
    wanted = (role or DEFAULT_ROLE).lower()
    overrides = _overrides.get()
    if wanted in overrides or EVERY_ROLE in overrides:
        return overrides.get(wanted) or overrides[EVERY_ROLE]
    settings = binding_of(wanted)
    if settings is None and DEFAULT_ROLE in overrides:
        return overrides[DEFAULT_ROLE]
    settings = settings or binding_of(DEFAULT_ROLE)
    if settings is not None:
        return _from_settings(settings)
    known = sorted({*overrides, *bound_roles()})
    bound = f" Bound roles: {', '.join(known)}." if known else ""
    variable = environment_variable(wanted)
    raise UnboundRole(
        f"No model is bound to the role {wanted!r}.{bound} Bind it in {FILE_NAME} ([models] {wanted} = "
        f'"local"), in the environment ({variable}=openai:gpt-5-mini), or in Python '
        f"(using({wanted}=\"local\")). 'local' is the model on this machine."
    )


async def find_model_async(role: str | None) -> Model:
    """Like `find_model`, without reading files in the event loop."""
    if is_loaded():
        return find_model(role)
    return await asyncio.to_thread(find_model, role)
