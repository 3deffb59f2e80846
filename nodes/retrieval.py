"""A retrieval: a node that asks a retriever, and keeps the passages that it found on record."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any, Generic, TypeAlias, get_args

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import GraphBubbleUp
from langgraph.typing import StateT

from ..state.blobs import referring
from ..state.errors import DefinitionError, InputError, RetrievalFailed, StepgraphError
from ..state.event_loops import in_thread
from ..state.journal.records import Retrieval
from ..state.journal.retrievals import find_retrieval
from ..state.json_text import json_text
from ..state.run_context import RunContext
from ..state.schema import StateType, accepts, bare, caller_names, fields_of, signature_types
from ..tracing.forks.recorded import recorded_run
from .node import AnswerNode, Node
from .passages import Found, Passage, Selection, select_passages
from .steps import check_writes

Retriever: TypeAlias = Runnable[str, Any] | Callable[[str], Iterable[Found] | Awaitable[Iterable[Found]]]
"""What finds passages for a query: a LangChain retriever or Runnable, or a function, sync or async."""

K, MAX_CHARS, TIMEOUT_S = 5, 20_000, 30.0


class Retrieve(AnswerNode[StateT, list[Passage]], Generic[StateT]):
    """One graph node that asks a retriever and writes the passages to a field. Made by `retrieve`."""

    def __init__(
        self,
        function: Callable[[StateT], str],
        writes: str,
        retriever: Retriever,
        *,
        state: StateType,
        k: int,
        max_chars: int,
        timeout_s: float | None,
    ) -> None:
        self.__doc__ = function.__doc__
        self.name = function.__name__
        self.writes: str = writes
        self.state = state
        self.answer_type = list[Passage]
        self.retriever_name = _name_of(retriever)
        self._function = function
        self._retriever = retriever
        self._k, self._max_chars, self._timeout_s = k, max_chars, timeout_s

    def query(self, state: StateT) -> str:
        """Return the query for a state, without asking anyone: for tests."""
        query = self._function(state)
        if not isinstance(query, str) or not query.strip():
            raise InputError(
                f"Retrieval {self.name!r} returned {query!r:.80} as its query; expected text. Where there is "
                "nothing to look for, go around it with a route."
            )
        return query

    async def answer(self, state: StateT, config: RunnableConfig | None = None) -> list[Passage]:
        """Return the passages. What this execution of the node asked before a crash is not asked again."""
        config = config or var_child_runnable_config.get()
        here = RunContext.of(config)
        query = self.query(state)
        session = here.session if here.task else None
        if session is None:
            return (await self._ask(query, config)).passages
        journal = session.journal
        await journal.until_free()
        text = json_text([query, self.retriever_name, self._k, self._max_chars])
        request_hash = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        rows = await find_retrieval(journal, here.thread_id, here.task, self.name, request_hash)
        if rows is not None:
            return [Passage.model_validate(row) for row in rows]
        await session.claims.acheck(here.thread_id)
        record = Retrieval(
            id=secrets.token_hex(8),
            thread_id=here.thread_id,
            task=here.task,
            path=here.path,
            step=self.name,
            request_hash=request_hash,
            status="failed",
            retriever=self.retriever_name,
            query=journal.mask.text(query),
            latency_s=0.0,
            started_at=time.time(),
        )
        recorded = recorded_run(here)
        known = None if recorded is None else await recorded.passages(here.path, self.name, request_hash)
        if known is not None:
            columns = {name: known[name] for name in ("passages", "kept", "found", "left_out")}
            await journal.aadd(replace(record, status="found", source="copied", **columns))
            return [Passage.model_validate(row) for row in json.loads(journal.whole(known["passages"]))]
        began = time.perf_counter()
        try:
            selection = await self._ask(query, config)
        except Exception as error:
            if not isinstance(error, GraphBubbleUp):
                problem = journal.mask.text(f"{type(error).__name__}: {error}")
                took = time.perf_counter() - began
                await journal.aadd(replace(record, latency_s=took, problem=problem))
            raise
        await journal.aadd(
            replace(
                record,
                status="found",
                latency_s=time.perf_counter() - began,
                passages=referring(json_text(selection.passages)),
                kept=len(selection.passages),
                found=selection.total,
                left_out=selection.left_out,
            )
        )
        return selection.passages

    async def _ask(self, query: str, config: RunnableConfig | None) -> Selection:
        who = f"Retrieval {self.name!r}: {self.retriever_name}"
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                results = await self._results(query, config)
            if isinstance(results, (str, bytes)) or not isinstance(results, Iterable):
                raise TypeError(f"{type(results).__name__}; expected a list of LangChain Documents or texts")
            return await in_thread(select_passages, results, self._k, self._max_chars)
        except (GraphBubbleUp, StepgraphError):
            raise
        except TimeoutError as error:
            if not limit.expired():
                raise self._failed(f"{who} failed with TimeoutError: {error}.") from error
            raise self._failed(
                f"{who} gave nothing in {self._timeout_s:g} s. Raise timeout_s if it needs longer."
            ) from None
        except TypeError as error:
            raise self._failed(f"{who} gave, or failed with, {error}.") from error
        except Exception as error:
            raise self._failed(f"{who} failed with {type(error).__name__}: {error}.") from error

    def _failed(self, message: str) -> RetrievalFailed:
        return RetrievalFailed(
            f"{message} A resume asks again.", step=self.name, retriever=self.retriever_name
        )

    async def _results(self, query: str, config: RunnableConfig | None) -> Any:
        ask: Any = self._retriever
        if isinstance(ask, Runnable):
            return await ask.ainvoke(query, config)
        if inspect.iscoroutinefunction(ask):
            return await ask(query)
        results = await in_thread(ask, query)
        return await results if inspect.isawaitable(results) else results

    def __repr__(self) -> str:
        return f"<retrieve {self.name} -> {self.writes}>"


def retrieve(
    writes: str,
    retriever: Retriever,
    *,
    k: int = K,
    max_chars: int = MAX_CHARS,
    timeout_s: float | None = TIMEOUT_S,
) -> Callable[[Callable[[StateT], str]], Retrieve[StateT]]:
    """Make a retrieval of a function that turns the state into the query.

    `writes` is a field of type `list[Passage]`. `retriever` is a LangChain retriever, any Runnable from
    text to documents, or a function from text to documents, texts, or pairs of these and their scores,
    sync or async. The best come first: at most `k` passages are kept, each once, with at most `max_chars`
    characters in all. What is left out is on the record, as are query and passages.

    Nothing found is the empty list, no error: decide by it with `gate` or `route`. A retriever that fails, or
    takes longer than `timeout_s`, raises RetrievalFailed. In a session, the passages are kept before the
    node goes on, so a resume does not ask again. Costs no model call.

        @retrieve("passages", store.as_retriever(), k=4)
        def search(qa: QA) -> str:
            return qa.question
    """
    if callable(writes):
        raise DefinitionError(
            'retrieve needs the field it writes, and a retriever: @retrieve("passages", retriever).'
        )
    _check_retriever(retriever)
    for name, limit in (("k", k), ("max_chars", max_chars)):
        if not isinstance(limit, int) or limit < 1:
            raise DefinitionError(f"retrieve({name}={limit!r}): expected a whole number, 1 or more.")
    if timeout_s is not None and not timeout_s > 0:
        raise DefinitionError(f"retrieve(timeout_s={timeout_s!r}): expected seconds, more than 0, or None.")
    namespace = caller_names()

    def decorate(function: Callable[[StateT], str]) -> Retrieve[StateT]:
        name = function.__name__
        if inspect.iscoroutinefunction(function):
            raise DefinitionError(f"Retrieval {name!r} is async, but it only words the query.")
        state, _ = signature_types(function, namespace)
        check_writes(name, state, writes, list[Passage])
        item = next(iter(get_args(bare(fields_of(state)[writes]))), Passage)
        if not accepts(item, Passage):
            raise DefinitionError(
                f"Retrieval {name!r} writes passages, but {state.__name__}.{writes} holds "
                f"{getattr(item, '__name__', item)}. Make it list[Passage]."
            )
        return Retrieve(
            function, writes, retriever, state=state, k=k, max_chars=max_chars, timeout_s=timeout_s
        )

    return decorate


def _check_retriever(retriever: Any) -> None:
    if isinstance(retriever, Node):
        raise DefinitionError(
            f"retrieve: {retriever!r} is a node of a graph, not what finds passages for a text. Put it "
            "before the retrieval: chain(step, search)."
        )
    if not isinstance(retriever, Runnable) and not callable(retriever):
        hint = " Give store.as_retriever()." if hasattr(retriever, "as_retriever") else ""
        raise DefinitionError(
            f"retrieve: {retriever!r:.80} finds no passages; expected a LangChain retriever, or a function "
            f"from text to documents.{hint}"
        )


def _name_of(retriever: Any) -> str:
    for name in (getattr(retriever, "name", None), getattr(retriever, "__name__", None)):
        if isinstance(name, str) and name:
            return name
    return type(retriever).__name__
