"""How a run comes to its session: its config's, else the default one, whoever keeps the checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph

from ..errors import InputError
from ..event_loops import in_thread
from ..names import SESSION_KEY, STARTER_KEY
from .default import (
    default_database,
    default_sessions,
    not_kept,
    session_table,
    warn_not_kept,
)
from .fingerprint import check_unchanged, fingerprint_of
from .internals import CONFIG_KEY_CHECKPOINTER, is_nested
from .migrating import migrate
from .versions import migrations_of

if TYPE_CHECKING:
    from .session import Session

Graph = CompiledStateGraph[Any, Any, Any, Any]


def is_root(config: RunnableConfig | None) -> bool:
    """Tell whether a run is a thread's own, not that of a node in another graph."""
    values = (config or {}).get("configurable") or {}
    return values.get("thread_id") is not None and not is_nested(values)


def kept(graph: Graph, config: RunnableConfig) -> RunnableConfig:
    """Return the config under which a thread's run is recorded, budgeted and replayed.

    Raises InputError before anything is paid if the graph promises what cannot hold without a session.
    """
    values = config["configurable"]
    if SESSION_KEY in values:
        if graph.checkpointer is False:
            raise InputError(
                f"The graph {graph.get_name()!r} was compiled with checkpointer=False, so no session can "
                "keep its thread. Compile it without, or run it without the session's config."
            )
        return config
    if graph.checkpointer is False:
        return config
    saver = saver_of(graph, config)
    session = default_sessions.find(saver)
    if session is not None:
        return session.joined(config, checkpointer=saver, budget=_default_budget(), graph=graph)
    if saver is not None:
        for promise in getattr(graph.builder, "promises", ()):
            raise not_kept(promise, saver)
        warn_not_kept(saver)
    return config


def _default_budget() -> Any:
    return session_table().budget


def session_of(graph: Graph, config: RunnableConfig) -> Session | None:
    """Return the session that has a thread on record, if there is any."""
    session: Session | None = (config.get("configurable") or {}).get(SESSION_KEY)
    return session or default_sessions.find(saver_of(graph, config))


def saver_of(graph: Graph, config: RunnableConfig) -> BaseCheckpointSaver[Any] | None:
    """Return who keeps the checkpoints of a root graph's run."""
    saver = config["configurable"].get(CONFIG_KEY_CHECKPOINTER, graph.checkpointer)
    return saver if isinstance(saver, BaseCheckpointSaver) else None


def brought_up(graph: Graph, config: RunnableConfig) -> None:
    """Make a thread one of the graph's version before anything of it is read, if it is of an earlier one."""
    values = config["configurable"]
    session = values.get(SESSION_KEY)
    if session is None or values.get(CONFIG_KEY_CHECKPOINTER) is not session.checkpointer:
        return
    starter = values.get(STARTER_KEY)
    if not getattr(starter, "allow_changed_graph", False):
        migrate(session, graph, str(values["thread_id"]))


@contextmanager
def told_of_changes(graph: Graph, config: RunnableConfig) -> Iterator[None]:
    """Raise GraphChanged where a thread's state cannot be read because the graph is another one."""
    try:
        yield
    except Exception:  # of the state's own constructor, of the checkpoint, or of an answer to what is gone
        check_graph(graph, config)
        raise


def check_graph(graph: Graph, config: RunnableConfig) -> None:
    """Raise GraphChanged unless a run's thread can go on with the graph, or is to all the same."""
    values = config["configurable"]
    session, starter = values.get(SESSION_KEY), values.get(STARTER_KEY)
    if session is not None and not getattr(starter, "allow_changed_graph", False):
        check_unchanged(session.journal, str(values["thread_id"]), fingerprint_of(graph))


async def abrought_up(graph: Graph, config: RunnableConfig) -> None:
    """Like `brought_up`, and no event loop stands still meanwhile."""
    if migrations_of(graph):
        await in_thread(brought_up, graph, config)


async def awaited(config: RunnableConfig) -> None:
    """Return once a run can begin; with a checkpointer that is not ours, nobody else waits for the lock."""
    values = config["configurable"]
    session = values.get(SESSION_KEY)
    if session is not None and values.get(CONFIG_KEY_CHECKPOINTER) is not session.checkpointer:
        await session.journal.until_free()


def durable(config: RunnableConfig, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's options; in a session, none may let its checkpoints lag behind its nodes.

    A call is found again by its task, which takes its id from the checkpoint before it.
    """
    if SESSION_KEY not in config["configurable"]:
        return dict(options)
    return {n: v for n, v in options.items() if n != "checkpoint_during"} | {"durability": "sync"}


def readable(graph: Graph, config: RunnableConfig) -> RunnableConfig:
    """Return the config with which a thread's state is found, also where the default session keeps it."""
    values = config.get("configurable") or {}
    if graph.checkpointer is not None or CONFIG_KEY_CHECKPOINTER in values or "thread_id" not in values:
        return config
    session = default_sessions.find(None) if default_database() is not None else None
    if session is None:
        return config
    return {**config, "configurable": {CONFIG_KEY_CHECKPOINTER: session.checkpointer, **values}}
