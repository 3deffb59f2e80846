"""Another prompt in the place of a step's own, for all that runs inside a block: the code stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .ask import Ask

Revision = Callable[[Any, Ask[Any]], Ask[Any]]
"""Takes a state and the question that the code makes of it, and returns the question to ask instead."""

_revisions: ContextVar[Mapping[Callable[..., Any], Revision]] = ContextVar("stepgraph_revisions")


@contextmanager
def revising(function: Callable[..., Any], revision: Revision) -> Iterator[None]:
    """Have the questions of a step's function revised, wherever the step is used in the block."""
    token = _revisions.set({**_revisions.get({}), function: revision})
    try:
        yield
    finally:
        _revisions.reset(token)


def revised(function: Callable[..., Any], state: Any, question: Ask[Any]) -> Ask[Any]:
    """Return the question that is asked here."""
    revision = _revisions.get({}).get(function)
    return question if revision is None else revision(state, question)
