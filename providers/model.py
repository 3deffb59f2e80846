"""The seam: one async method between a workflow and the model that answers it.

Everything around a call, such as journal, retries, prices and the limit on concurrency, is a `Layer`: a model
around another one. Their order, and why, stands in providers/stack/stack.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from langchain_core.runnables import RunnableConfig

from ..state.cost import NOTHING, Cost
from ..state.journal.records import CallKey
from ..state.run_context import RunContext
from ..state.session.session import Session
from ..state.session.shared_ledger import Held
from ..state.statuses import CallSource

repr_json = json.JSONEncoder(default=repr).encode
"""Returns a value as JSON, with what JSON does not know as its repr."""

Message = Mapping[str, Any]
PrefixEnd = tuple[int, int]
"""Where what requests share ends: in which message, and after how many characters (or parts) of it."""


def with_order(messages: tuple[Message, ...], order: str, *, behind: bool = False) -> tuple[Message, ...]:
    """Return the messages with an order at the end of the system message.

    Where there is none, it becomes one, at the front; with `behind`, which keeps the front as it is, it goes
    to the end of the last message of the user.
    """
    place = 0 if messages and messages[0]["role"] == "system" else None
    if place is None and behind:
        users = [number for number, message in enumerate(messages) if message["role"] == "user"]
        place = users[-1] if users else None
    if place is None:
        return ({"role": "system", "content": order}, *messages)
    system = messages[place]["content"]
    content = (
        f"{system}\n\n{order}" if isinstance(system, str) else [*system, {"type": "text", "text": order}]
    )
    return (*messages[:place], {**messages[place], "content": content}, *messages[place + 1 :])


class WrappedSchema(dict[str, Any]):
    """A JSON schema of an object whose one field, `answer`, is what was asked for: an answer that is none."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a model is asked: messages in OpenAI's form, and how to answer.

    `schema` is a JSON schema that the answer must fit; None asks for text. `max_tokens` bounds the
    answer, None leaves that to the model's settings. Requests that differ only in `sample` are
    different draws: they never share an answer. `tools` are OpenAI function schemas (name, description,
    parameters) that the model may call; with `tool_choice` "none" it knows them but must answer.
    `dials` are other parameters, see providers/dials.py. `prompt` says where a managed prompt comes from; it
    goes on record, and changes no answer. An answer that the limit on its tokens cut is no answer if it must
    be `whole`, nor is one whose value `check` does not take: it returns True or None, or the reason not to.
    `prefix` says where what the request shares with others ends, see providers/prefix_marks.py.
    """

    messages: tuple[Message, ...]
    schema: Mapping[str, Any] | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    sample: int = 0
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: Literal["auto", "none"] = "auto"
    prompt: Mapping[str, Any] | None = None
    dials: Mapping[str, Any] | None = None
    whole: bool = False
    check: Callable[[Any], bool | str | None] | None = field(default=None, compare=False, repr=False)
    prefix: PrefixEnd | None = None

    def params(self) -> dict[str, Any]:
        """Return everything but the messages, without what is not set."""
        values = {
            "schema": self.schema,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "dials": self.dials or None,
            "sample": self.sample or None,
            "tools": self.tools or None,
            "tool_choice": "none" if self.tools and self.tool_choice == "none" else None,
            "prefix": self.prefix,
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's call of a tool; `problem` says why its arguments cannot be read, if they cannot.

    The `id` ties the result to the call. A script may leave it out. `extra` goes back to the provider.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    problem: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts; `cached` and `cache_write` are part of `input`, `reasoning` is part of `output`."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    reasoning: int | None = None
    cache_write: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer. `cost_usd` is None while unknown; `replayed` marks an answer from the journal.

    `estimated_tokens` and `estimated_usd` are what budgets are charged beyond what is known, where the server
    did not count the tokens: the most that they can be.

    `price_source` and `price_date` say where the cost comes from, see providers/stack/pricing.py.

    `state` are the fields of the message, beside its text and tool calls, that the provider wants back when
    the conversation goes on, as it sent them: reasoning, its details and signatures.
    `media` are the images, sounds and files of the answer, as LangChain's standard content blocks.
    `source` is model, coalesced (an equal call was under way) or cache; `call_id` is its journal row.
    """

    text: str
    model: str
    tool_calls: tuple[ToolCall, ...] = field(default=(), kw_only=True)
    usage: Usage = field(default_factory=Usage)
    reasoning: str | None = None
    finish_reason: str | None = None
    cost_usd: float | None = None
    cost_parts: Mapping[str, float] | None = None
    price_source: str | None = None
    price_date: str | None = None
    estimated_tokens: int = field(default=0, kw_only=True)
    estimated_usd: float = field(default=0.0, kw_only=True)
    latency_s: float = 0.0
    replayed: bool = False
    source: CallSource = "model"
    call_id: str | None = None
    state: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    media: tuple[Mapping[str, Any], ...] = field(default=(), kw_only=True)


@dataclass(slots=True)
class AttemptOutcome:
    """What is known of an attempt under way: whether it was sent, and the reply, committed or not.

    `batch_request` is the request of a batch that ended with a result for it, of whatever kind. `bound` is
    the most that it can cost, and `held` what of that is set aside in budgets that threads share, until the
    attempt's own commit settles it.
    """

    sent: bool = False
    reply: Reply | None = None
    batch_request: str | None = None
    bound: Cost = NOTHING
    held: Held | None = None

    @property
    def cost(self) -> Cost:
        """What the attempt cost; where the server does not say, what that is estimated to be.

        One that was cancelled while its answer was being kept is paid for; one that was cancelled in
        line was never made.
        """
        reply = self.reply
        if reply is None:
            return Cost(calls=int(self.sent))
        return Cost(
            1,
            reply.usage.input or 0,
            reply.usage.output or 0,
            reply.cost_usd or 0.0,
            int(reply.cost_usd is None),
            reply.estimated_tokens,
            reply.estimated_usd,
        )


class TokenSink(Protocol):
    """Where an answer goes while it is streamed; `listened` says whether anybody wants its tokens."""

    listened: bool

    async def emit(self, text: str = "", *, reasoning: str = "") -> None:
        """Pass on what is new in the answer; nothing, where it is a tool call that begins."""
        ...


@dataclass(frozen=True, slots=True)
class ReplyCheck:
    """A step's check of a reply: why it does not fit, and the confidence (0 to 1) that it states, if any."""

    problem: str | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class CallContext:
    """Where in which run a call is made. Outside of a run, all but `step` is empty.

    `check` says whether a reply will do, for models that can ask another one instead. `outcome` is filled in
    for the layer that settles the attempt, however it ends.
    """

    step: str
    role: str | None = None
    config: RunnableConfig | None = None
    key: CallKey | None = None
    attempt: int = 1
    reserved: str | None = None
    cache_s: float | None = None
    reason: str | None = None
    sink: TokenSink | None = None
    check: Callable[[Reply], ReplyCheck] | None = None
    outcome: AttemptOutcome | None = None
    run: RunContext = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "run", RunContext.of(self.config))  # many ask for it

    @property
    def session(self) -> Session | None:
        return self.run.session

    @property
    def thread_id(self) -> str:
        return self.run.thread_id

    @property
    def task(self) -> str:
        return self.run.task

    @property
    def path(self) -> str:
        return self.run.path

    def call_key(self, session: Session, model: str, request: Request) -> CallKey:
        """Return the key under which the journal finds this very call again."""
        content = repr_json([model, request.messages, request.params()])
        digest = hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()
        run = self.run
        number = session.journal.occurrence(
            run.execution, run.thread_id, run.task, digest, attempt=run.attempt
        )
        return CallKey(run.thread_id, run.task, digest, number)


@runtime_checkable
class Model(Protocol):
    """A model. `name` is what the caller asked for; the reply names the model that really answered."""

    @property
    def name(self) -> str: ...

    async def complete(self, request: Request, context: CallContext) -> Reply:
        """Return the reply, or raise a ModelError."""
        ...


class Layer:
    """One thing that happens around a call: a `Model` around an inner one. Which, in which order and why:
    providers/stack/stack.py.
    """

    def __init__(self, inner: Model) -> None:
        self.inner = inner
        self.name = inner.name

    async def complete(self, request: Request, context: CallContext) -> Reply:
        return await self.inner.complete(request, context)
