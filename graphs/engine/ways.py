"""The other way: what a pattern does instead, for a reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...nodes.ends import End
from .workflow import NodeLike, Workflow


def add_instead(
    graph: Workflow[Any],
    part: NodeLike[Any],
    name: str | None,
    reads: type[Any],
    why: Callable[[Mapping[str, Any]], str],
) -> str:
    """Add the part that a pattern goes to for a reason, and return its node.

    `why` finds the reason in what `reads` describes: an `end` takes it over.
    """
    if isinstance(part, End):
        node = graph.add_part(part, name, reads=reads, runs_as=part.on(graph.state, why))
        graph.ends_like(node, part)
        return node
    return graph.add_part(part, name)
