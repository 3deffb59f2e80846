"""Recovery: what may be taken for the failure of a part, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from langchain_core.runnables import RunnableConfig

from ...nodes.node import Update
from ...state.errors import (
    BranchTimeout,
    DefinitionError,
    GateFailed,
    GuardTripped,
    InvalidAnswer,
    ModelError,
    NoAnswer,
    NoRoute,
)
from ...state.masking import NO_KEYS
from ...state.run_context import RunContext
from .branches import FATAL, Branch, timed

Kinds: TypeAlias = tuple[type[Exception], ...]

FAILURES: Final[Kinds] = (
    BranchTimeout,
    GateFailed,
    GuardTripped,
    InvalidAnswer,
    ModelError,
    NoAnswer,
    NoRoute,
)
"""What ends a part by a model's doing or by the toolkit's own word, not by a mistake in somebody's code."""


def failures_of(pattern: str, on: type[Exception] | Iterable[type[Exception]]) -> Kinds:
    """Return the errors that a pattern is to catch. Raises DefinitionError for one that it must not."""
    kinds = tuple(on) if isinstance(on, Iterable) else (on,)
    if not kinds:
        raise DefinitionError(f"{pattern}(on=()): name at least one error, or leave `on` out.")
    for kind in kinds:
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            raise DefinitionError(
                f"{pattern}(on=…): {kind!r} is no class of errors: {pattern}(…, on=ModelError)."
            )
        if issubclass(kind, FATAL) or not issubclass(kind, Exception):
            raise DefinitionError(
                f"{pattern}(on={kind.__name__}): that is no failure of a part. What waits for a person, ends "
                "a budget, stops the run, or says that the graph or its record is wrong, is never caught."
            )
    return kinds


def reason_of(error: Exception, config: RunnableConfig | None) -> str:
    """Return an error's class and text, without keys and personal data."""
    session = RunContext.of(config).session
    mask = NO_KEYS if session is None else session.journal.mask
    text = str(error).strip()
    return mask.text(f"{type(error).__name__}: {text}" if text else type(error).__name__)


@dataclass(frozen=True)
class Recovering:
    """Runs a part, and gives another update in the place of its own when it fails as one of the `kinds`.

    What a part that failed wrote is dropped; what it paid for is counted and on record. `failed` gets the
    state, the error and the config, and may raise the error all the same.
    """

    what: str
    kinds: Kinds
    failed: Callable[[Any, Exception, RunnableConfig], Update]
    done: Update = field(default_factory=dict)
    timeout_s: float | None = None

    async def __call__(self, state: Any, config: RunnableConfig, work: Branch) -> Update:
        try:
            update = await timed(work, self.timeout_s, self.what)
        except FATAL:
            raise
        except self.kinds as error:
            return self.failed(state, error, config)
        return {**update, **self.done}
