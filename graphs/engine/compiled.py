"""A compiled workflow: a LangGraph graph whose runs are kept, and whose sync callers lose nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph.state import CompiledStateGraph

from ...providers.stack.roles import layered
from ...state.event_loops import run_sync
from ...state.run_context import RunContext, with_models
from ...state.run_resources import RunResources, resources_of, with_resources
from ...state.session.default import default_sessions
from ...state.session.keeping import (
    abrought_up,
    awaited,
    brought_up,
    durable,
    is_root,
    kept,
    readable,
    told_of_changes,
)
from ...tracing.export.live import Tracing
from ..picture import to_svg
from .answering import acheck_answer, check_answer, standing
from .turns import adelivered, delivered

BRANCHES = 512
SYNC_ONLY = (BaseCheckpointSaver.aget_tuple, SqliteSaver.aget_tuple)  # which only raise

default_sessions.tracing = Tracing


class CompiledWorkflow(CompiledStateGraph[Any, Any, Any, Any]):
    """What `Workflow.compile` returns: sync callers have branches run at once as async ones do.

    LangGraph gives them a pool of few threads. `invoke` runs async underneath, unless the checkpointer
    is sync only; `stream` has up to BRANCHES threads.
    """

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        own = self.checkpointer if isinstance(self.checkpointer, BaseCheckpointSaver) else None
        if is_sync_only(RunContext.of(config).checkpointer or own):
            return super().invoke(input, config, **kwargs)
        return run_sync(self.ainvoke(input, unbounded(config), **kwargs))

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        config = {"max_concurrency": BRANCHES, **(self._bound(config) or {})}
        if resources_of(config) is not None:
            return super().stream(input, config, **kwargs)
        return self._stream(input, config, kwargs)

    def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        config = self._bound(config)
        if resources_of(config) is not None:
            return super().astream(input, config, **kwargs)
        return self._astream(input, config, kwargs)

    def _stream(self, input: Any, config: RunnableConfig, kwargs: dict[str, Any]) -> Iterator[Any]:
        to_do = input
        if is_root(config):
            config = kept(self, config)
            brought_up(self, config)
            with told_of_changes(self, config):
                to_do = delivered(self, check_answer(self, input, config), config)
            kwargs = durable(config, kwargs)
        resources = RunResources()
        try:
            yield from super().stream(to_do, with_resources(config, resources), **kwargs)
        finally:
            if resources:
                run_sync(resources.close())

    async def _astream(
        self, input: Any, config: RunnableConfig | None, kwargs: dict[str, Any]
    ) -> AsyncIterator[Any]:
        to_do = input
        if is_root(config):
            config = kept(self, config or {})
            await awaited(config)
            await abrought_up(self, config)
            with told_of_changes(self, config):
                to_do = await adelivered(self, await acheck_answer(self, input, config), config)
            kwargs = durable(config, kwargs)
        resources = RunResources()
        stream: Any = super().astream(to_do, with_resources(config, resources), **kwargs)
        try:
            async with aclosing(stream) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            await resources.close()

    def _bound(self, config: RunnableConfig | None) -> RunnableConfig | None:
        """Return the config under which the models answer that this graph was compiled with."""
        own = RunContext.of(self.config).models
        if not own:
            return config
        around = RunContext.of(config if config is not None else var_child_runnable_config.get()).models
        return with_models(config or {}, layered(around, own))

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Return what a notebook shows; LangGraph's own would send the graph to a service for a picture."""
        return {"text/plain": repr(self), "image/svg+xml": to_svg(self.get_graph(xray=True))}

    def __repr__(self) -> str:
        return f"<compiled {self.builder!r}>"

    def get_state(self, config: RunnableConfig, **kwargs: Any) -> Any:
        config = readable(self, config)
        return standing(self, super().get_state(config, **kwargs), config)

    async def aget_state(self, config: RunnableConfig, **kwargs: Any) -> Any:
        config = readable(self, config)
        return standing(self, await super().aget_state(config, **kwargs), config)

    def update_state(self, config: RunnableConfig, *args: Any, **kwargs: Any) -> Any:
        return super().update_state(readable(self, config), *args, **kwargs)

    async def aupdate_state(self, config: RunnableConfig, *args: Any, **kwargs: Any) -> Any:
        return await super().aupdate_state(readable(self, config), *args, **kwargs)


def is_sync_only(saver: Any) -> bool:
    """Tell whether a checkpointer cannot be used async."""
    return isinstance(saver, BaseCheckpointSaver) and type(saver).aget_tuple in SYNC_ONLY


def unbounded(config: RunnableConfig | None) -> RunnableConfig | None:
    """Return a config without the width of the thread pool, which async would take for a limit."""
    if config is None or config.get("max_concurrency") != BRANCHES:
        return config
    return cast("RunnableConfig", {k: v for k, v in config.items() if k != "max_concurrency"})
