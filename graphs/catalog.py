"""The ready graphs, by the names that the command line knows."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..state.errors import InputError, did_you_mean
from .engine.workflow import Workflow

READY = (
    "code",
    "code-search",
    "coding-agent",
    "contract-review",
    "device-first",
    "dialogue",
    "document-processing",
    "extraction",
    "marketing-email",
    "product-description",
    "research",
    "resume-screener",
    "sentiment",
    "summary",
    "support-agent",
    "support-desk",
)


def ready_graph(name: str) -> Workflow[Any]:
    """Return a ready graph. Raises InputError for an unknown name."""
    if name not in READY:
        raise InputError(f"There is no ready graph {name!r}. {did_you_mean(name, READY)}")
    graph: Workflow[Any] = import_module(f".ready.{name.replace('-', '_')}.graph", __package__).graph
    return graph
