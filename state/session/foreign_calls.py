"""Model calls that a graph makes by itself, with any LangChain chat model, put on record as they are seen.

They are recorded, not kept: a resume asks them again. Calls through stepgraph's own seam are recorded
there, before anyone sees the answer; here only the moment of their first token is noted.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.messages import BaseMessage, convert_to_openai_messages
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables.config import var_child_runnable_config

from ..blobs import referring
from ..journal.journal import Journal
from ..journal.records import Call, bindable
from ..json_text import json_text
from ..money import is_believable, rounded
from ..names import path_of

OWN_TYPE = "stepgraph"  # what calls through the seam say of themselves in their parameters
PARAMETERS = frozenset(
    "temperature max_tokens max_completion_tokens top_p stop response_format tools".split()
)
COUNTED = "counted by Langfuse's own callback handler"


def is_langfuses(handler: BaseCallbackHandler) -> bool:
    """Tell whether a callback handler sends what it hears to Langfuse."""
    kind: Any = type(handler)
    return _is_of_langfuse(kind)


@lru_cache(maxsize=256)
def _is_of_langfuse(kind: type[Any]) -> bool:
    return any(each.__module__.partition(".")[0] == "langfuse" for each in kind.__mro__)


def handlers_of(config: Mapping[str, Any] | None) -> Sequence[BaseCallbackHandler]:
    """Return the callback handlers in a config."""
    callbacks = (config or {}).get("callbacks")
    return callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks or ()


@dataclass(slots=True)
class Seen:
    """What is seen of a call while it is under way."""

    first_token_at: float | None = None

    def token(self) -> None:
        if self.first_token_at is None:
            self.first_token_at = time.time()


under_way: ContextVar[Seen | None] = ContextVar("stepgraph_call", default=None)
"""The call through stepgraph's seam that is being made here, if one is."""


class CallObserver(BaseCallbackHandler):
    """A LangChain callback handler that records the calls of plain chat models in a run."""

    run_inline = True
    ignore_chain = True
    ignore_retriever = True
    ignore_agent = True
    ignore_retry = True
    ignore_custom_event = True

    def __init__(self, journal: Journal, thread_id: str) -> None:
        self._journal = journal
        self._thread = thread_id
        self._open: dict[UUID, tuple[Call, Seen]] = {}

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        params = kwargs.get("invocation_params") or {}
        if under_way.get() is None and params.get("_type") != OWN_TYPE:
            conversation = convert_to_openai_messages(messages[0] if messages else [])
            self._begin(run_id, conversation, metadata or {}, params)

    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if under_way.get() is None:
            conversation = [{"role": "user", "content": prompt} for prompt in prompts]
            self._begin(run_id, conversation, metadata or {}, kwargs.get("invocation_params") or {})

    def _begin(
        self, run_id: UUID, conversation: Any, metadata: Mapping[str, Any], params: Mapping[str, Any]
    ) -> None:
        task = str(metadata.get("langgraph_checkpoint_ns", ""))
        model = metadata.get("ls_model_name") or params.get("model") or params.get("model_name") or "unknown"
        options = {name: params[name] for name in PARAMETERS if params.get(name) is not None}
        call = Call(
            id=secrets.token_hex(8),
            thread_id=self._thread,
            task=task,
            path=path_of(task),
            step=str(metadata.get("langgraph_node", "")),
            role=None,
            request_hash=f"observed {run_id}",
            occurrence=0,
            attempt=1,
            status="answered",
            model_asked=str(model),
            messages=self._journal.mask.json(referring(json_text(conversation))),
            params=json_text(options),
            latency_s=0.0,
            started_at=time.time(),
            reason=COUNTED if any(map(is_langfuses, handlers_of(var_child_runnable_config.get()))) else None,
        )
        self._open[run_id] = (call, Seen())

    def on_llm_new_token(self, token: str | list[Any], *, run_id: UUID, **kwargs: Any) -> None:
        own = under_way.get()
        seen = own or (self._open[run_id][1] if run_id in self._open else None)
        if seen is not None:
            seen.token()

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        if run_id not in self._open:
            return
        call, seen = self._open.pop(run_id)
        first = seen.first_token_at
        self._journal.add(
            replace(
                call,
                latency_s=time.time() - call.started_at,
                first_token_s=None if first is None else first - call.started_at,
                **_answer(response),
            )
        )

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        if run_id not in self._open:
            return
        call, _ = self._open.pop(run_id)
        cancelled = isinstance(error, asyncio.CancelledError)
        message = "stopped before it ended" if cancelled else f"{type(error).__name__}: {error}"
        latency = time.time() - call.started_at
        problem = self._journal.mask.text(message)
        self._journal.add(replace(call, status="failed", latency_s=latency, problem=problem))


def _media(message: BaseMessage) -> str | None:
    """Return the images, sounds and files of a message as JSON, None if it has none."""
    if not isinstance(message.content, list):
        return None
    kinds = ("image", "audio", "video", "file")
    blocks = [block for block in message.content_blocks if block["type"] in kinds]
    return referring(json_text(blocks)) if blocks else None


def _answer(response: LLMResult) -> dict[str, Any]:
    generations: Sequence[Any] = response.generations[0] if response.generations else ()
    if not generations:
        return {}
    generation = generations[0]
    message = generation.message if isinstance(generation, ChatGeneration) else None
    if message is None:
        return {"answer": bindable(generation.text)}
    metadata = message.response_metadata
    usage = getattr(message, "usage_metadata", None) or {}
    calls = getattr(message, "tool_calls", None)
    cost = (metadata.get("token_usage") or {}).get("cost")
    text = str(message.text) or (json.dumps({"tool_calls": calls}, default=repr) if calls else "")
    return {
        "model_answered": metadata.get("model_name") or metadata.get("model"),
        "answer": referring(bindable(text)),
        "media": _media(message),
        "reasoning": bindable(message.additional_kwargs.get("reasoning_content")),
        "finish_reason": metadata.get("finish_reason") or metadata.get("stop_reason"),
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "cached_tokens": (usage.get("input_token_details") or {}).get("cache_read"),
        "reasoning_tokens": (usage.get("output_token_details") or {}).get("reasoning"),
        "cost_usd": rounded(cost) if isinstance(cost, (int, float)) and is_believable(cost) else None,
    }
