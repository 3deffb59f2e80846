"""What `--model` says."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any

from ..nodes.costs import asks_in, cost_of
from ..providers.settings import (
    DEFAULT_ROLE,
    FILE_NAME,
    bound_roles,
    is_known,
    named_binding,
    parse_binding,
)
from ..providers.stack.roles import EVERY_ROLE, Bindable, find_model, using
from ..providers.stack.stack import ModelStack
from ..state.errors import InputError, SettingsError, UnboundRole, did_you_mean
from ..state.names import MODELS_KEY, SESSION_KEY
from ..state.run_context import RunContext, fields_in
from ..state.session.session import Session
from .loading import Compiled


def parse_models(models: Sequence[str]) -> dict[str, str]:
    """Return role and spec of each --model, fit for `using(**…)`; without a role it is for every role."""
    bound: dict[str, str] = {}
    for text in models:
        role, sign, spec = text.partition("=")
        if not sign:
            role, spec = EVERY_ROLE, text
        if named_binding(spec) is None:
            parse_binding(spec, f"--model {text}")
        bound[role] = spec
    return bound


def using_named(models: Mapping[str, Bindable]) -> AbstractContextManager[None]:
    """Bind what was named, over all else; nothing named hides nothing, where an empty `using()` would."""
    return using(**models) if models else nullcontext()


def known_models(models: Mapping[str, str], whose: str) -> dict[str, str]:
    """Return the models that a record names, if the user's own settings know them; else raise InputError.

    A record may come from anywhere. It chooses neither who is asked nor where a key is sent.
    """
    for model in _unknown(models):
        raise InputError(
            f"{whose} names the model {model!r}, which is bound neither in {FILE_NAME} nor in the "
            f"environment. If you want it, name it yourself: --model {shlex.quote(model)}; for the "
            "settings' own: --model default, or another role that is bound."
        )
    return dict(models)


def model_options(models: Mapping[str, str]) -> str:
    """Return the options that a command must repeat to go on with these models, see `known_models`."""
    return "".join(f" --model {shlex.quote(model)}" for model in _unknown(models))


def _unknown(models: Mapping[str, str]) -> Iterator[str]:
    for role, spec in models.items():
        try:
            known = is_known(spec)
        except SettingsError:
            known = False
        if not known:
            yield spec if role == EVERY_ROLE else f"{role}={spec}"


def check_roles(roles: Iterable[str], graph: Compiled) -> None:
    """Raise InputError for a role that no step has, if it looks like a slip of the pen for one that some has.

    Other roles may be asked for inside plain functions and tools, where they cannot be seen.
    """
    roles = [role for role in roles if role != EVERY_ROLE]
    if not roles:
        return
    steps = [asks.step for asks in asks_in(cost_of(graph))]
    in_use = {
        (step.role or DEFAULT_ROLE).lower() for step in steps if getattr(step, "own_model", None) is None
    }
    known = {*in_use, *bound_roles(), DEFAULT_ROLE, EVERY_ROLE}
    for role in roles:
        if role.lower() not in known and difflib.get_close_matches(role.lower(), in_use, n=1, cutoff=0.75):
            raise InputError(
                f"--model {role}=…: no step of {graph.get_name()!r} has the role {role!r}. "
                f"{did_you_mean(role.lower(), in_use)} A role that only functions and tools use is bound in "
                f"{FILE_NAME} instead."
            )


def check_models(models: Mapping[str, Bindable], graph: Compiled) -> None:
    """Make the models that a graph's steps ask, so that nothing is on record yet when one cannot be made.

    A role that nothing binds is not told here: a branch that is not taken needs none. Raises SettingsError
    for a missing key or package, and for settings that do not fit.
    """
    with using_named(models):
        for role, find in _steps_models(graph):
            with suppress(UnboundRole):
                find(role)


def answering_models(graph: Compiled, session: Session) -> dict[str, list[str]]:
    """Return what tells the models apart that answer each role of a graph's steps in a session, by role.

    A role that nothing binds, or whose model cannot be made, has none.
    """
    by_role: dict[str, list[str]] = {}
    for role, find in _steps_models(graph, {SESSION_KEY: session}):
        with suppress(SettingsError):
            by_role[role or DEFAULT_ROLE] = [member.identity for member in find(role).members]
    return by_role


def _steps_models(
    graph: Compiled, fields: Mapping[str, Any] | None = None
) -> Iterator[tuple[str | None, Callable[[str | None], ModelStack]]]:
    """Yield the role of each step without a model of its own, and what finds the role's model there."""
    values = {**fields_in(graph.config or {}), **(fields or {})}
    for asks in asks_in(cost_of(graph)):
        if getattr(asks.step, "own_model", None) is None and hasattr(asks.step, "role"):
            run = RunContext({**values, MODELS_KEY: asks.models})
            yield asks.step.role, partial(find_model, run=run)
