"""The node that begins a loop: it forgets what an earlier run on the same thread left in its channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig

from ...nodes.node import Node, Update


@dataclass(eq=False)
class Reset(Node[Any]):
    """Puts a private channel back to its first value.

    A thread keeps a pattern's private channels, so a second input would go on with the rounds of the first.
    """

    channel: str
    value: Any
    name = "begin"

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        return {self.channel: self.value}
