"""The node that begins a loop: it forgets what an earlier run on the same thread left in its channel."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig

from ...nodes.node import Node, Update


class Reset(Node[Any]):
    """Puts a private channel back to its first value.

    A thread keeps a pattern's private channels, so a second input would go on with the rounds of the first.
    """

    name = "begin"

    def __init__(self, channel: str, value: Any) -> None:
        self._update = {channel: value}

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        return dict(self._update)
