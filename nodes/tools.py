"""The tools of an agent: each call runs, and the model gets its result or its error as a message."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, TypeAlias, TypedDict, cast

from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.errors import GraphBubbleUp
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt.tool_node import ToolCallRequest, ToolInvocationError
from pydantic import BaseModel, create_model

from ..providers.backends.http_errors import scrubbed
from ..providers.stack.tool_emulation import FINAL_ANSWER
from ..state.errors import (
    BudgetExceeded,
    DefinitionError,
    EffectUnknown,
    InputError,
    MCPServerFailed,
    PromptChanged,
    ScriptError,
    StoreError,
    ThreadBusy,
    did_you_mean,
)
from ..state.event_loops import in_new_thread
from ..state.journal.effects import find_effect, is_of_an_earlier_input
from ..state.json_text import json_text
from ..state.names import CALL, MESSAGES, TOOLBOX
from ..state.run_context import RunContext
from ..tracing.forks.recorded import RecordedRun, recorded_run
from ..tracing.record.recorded_run import CHANGED
from .content_blocks import is_medium, wire_part
from .departures import depart
from .effects import Effect
from .mcp_servers import MCPServer, check_servers
from .mcp_sessions import MadeAgain
from .mcp_tools import Servers, ServerTool, plain
from .node import Node, Update, record_decision
from .reviews import Review, Verdict, choice_of
from .toolkits import AnyTool, is_async, problem_with, tools_by_name

Key: TypeAlias = Callable[[Mapping[str, Any]], object]
Outcome = Literal["ran", "failed", "timed out", "refused", "rejected", "unknown"]
Content: TypeAlias = str | list[Any]

STOPPING = (
    BudgetExceeded,
    DefinitionError,
    MCPServerFailed,
    PromptChanged,
    ScriptError,
    StoreError,
    ThreadBusy,
)
MAX_REASON = 500
OPEN = (
    "Nobody knows whether it took effect, so with these arguments it is not run again until a person has "
    "decided. Do not try to get around that; say so in your answer."
)


class Once(TypedDict, total=False):
    """A call that happens once: what it is known by, and what the record keeps of it."""

    arguments: Mapping[str, Any]
    call: str
    result: Any


@dataclass(frozen=True)
class _Call:
    """The tool that a call runs, and for one of a server how it was listed, and what the agent was asked."""

    tool: BaseTool
    node: ToolNode
    served: ServerTool | None = None
    question: str = ""


class TimedOut(Exception):
    """A tool took longer than it may, or than the budget lets it."""


class _Threaded(BaseTool):
    """A sync tool that runs in a thread of its own, which nobody waits for once its time is up."""

    inner: BaseTool

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return await in_new_thread(_invoked, self.inner, input, config)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


def _invoked(tool: BaseTool, call: Any, config: RunnableConfig | None) -> Any:
    try:
        return tool.invoke(call, config)
    except (StopIteration, SystemExit) as error:  # no future can hold the one, the other ends the event loop
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


class Tools(Node[Any]):
    """The graph node that runs one tool call. LangGraph's ToolNode injects what the tool asks for.

    What is added to it: a tool has its time, its result its length, sync tools hold nothing up; some
    ask a person first, some happen once. The tools of MCP servers are listed in the run, and come with
    their calls.
    """

    name = "tools"

    def __init__(
        self,
        tools: Iterable[AnyTool | MCPServer],
        *,
        timeout_s: float,
        max_chars: int,
        approve: Sequence[str] = (),
        once: Sequence[str] | Mapping[str, Key] = (),
    ) -> None:
        all_tools = list(tools)
        servers = [each for each in all_tools if isinstance(each, MCPServer)]
        check_servers(servers)
        self.servers = Servers(servers)
        self.by_name = tools_by_name(each for each in all_tools if not isinstance(each, MCPServer))
        if not all_tools:
            raise DefinitionError("agent() needs at least one tool; without any, use the step as it is.")
        self._named = {
            "approve": [approve] if isinstance(approve, str) else list(approve),
            "once": [once] if isinstance(once, str) else list(once),
        }
        if not servers:
            self.check_names(())
        self._timeout_s = timeout_s
        self._max_chars = max_chars
        self._reviews = {
            name: _review_of(self.by_name[name]) for name in self._named["approve"] if name in self.by_name
        }
        self._once = dict(once) if isinstance(once, Mapping) else dict.fromkeys(self._named["once"])
        self._node = _node_of(self.by_name.values())

    @property
    def schemas(self) -> tuple[Mapping[str, Any], ...]:
        """The tools as OpenAI function schemas, without those of servers."""
        return tuple(convert_to_openai_tool(tool)["function"] for tool in self.by_name.values())

    @property
    def once(self) -> Sequence[str]:
        """The names of the tools of which each call happens once."""
        return self._named["once"]

    @property
    def has_servers(self) -> bool:
        """Whether servers list some of the tools."""
        return bool(self.servers)

    def check_names(self, served: Sequence[ServerTool]) -> None:
        """Raise DefinitionError for an option that names none of the tools."""
        known = [*self.by_name, *(tool.name for tool in served)]
        for option, names in self._named.items():
            for name in names:
                if name not in known:
                    raise DefinitionError(
                        f"agent({option}=…) names {name!r}, which is none of its tools. "
                        + did_you_mean(name, known)
                    )

    async def listed(self, config: RunnableConfig | None) -> tuple[ServerTool, ...]:
        """Return the tools of the servers. Raises MCPServerFailed, and DefinitionError for a wrong name."""
        served = await self.servers.listed(config, (*self.by_name, FINAL_ANSWER))
        self.check_names(served)
        return served

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        call: ToolCall = input[CALL]
        served: ServerTool | None = input.get(TOOLBOX)
        if served is None:
            prepared = _Call(self.by_name[call["name"]], self._node)
        else:
            tool = self.servers.tool(served, config)
            prepared = _Call(tool, _node_of([tool]), served, input.get("stepgraph_question", ""))
        decided: list[str] = []
        content, outcome = await self._run(call, prepared, config or {}, decided)
        reason = "; ".join([_shown(call, served)[:MAX_REASON], *decided])
        record_decision(config, "tool", outcome, reason=reason)
        message = ToolMessage(
            content=content,
            name=call["name"],
            tool_call_id=call["id"] or "",
            status="success" if outcome == "ran" else "error",
            id=f"result-{call['id']}",
        )
        return {MESSAGES: [message]}

    async def _run(
        self, call: ToolCall, prepared: _Call, config: RunnableConfig, decided: list[str]
    ) -> tuple[Content, Outcome]:
        tool = prepared.tool
        if problem := problem_with(tool, call["args"]):
            return f"The call was not made: {problem} Fix the arguments and call again.", "refused"
        note = ""
        if tool.name in self._named["approve"]:
            review = self._reviews.get(tool.name) or _review_of(tool)
            verdict = await review.answer({"arguments": call["args"]}, config)
            decided.append(f"{choice_of(verdict)} {verdict.reason.removeprefix('edited ')}".strip())
            if not verdict.approved:
                return f"A person rejected this call: {verdict.comment} Do not make it again.", "rejected"
            if verdict.edited:
                call = {**call, "args": _arguments(verdict)}
                note = f"{CHANGED}{json_text(call['args'])}.\n"
        recorded = recorded_run(RunContext.of(config))
        if recorded is not None and not recorded.tools:
            return await self._as_recorded(recorded, call, config, note)
        try:
            content = await self._content(prepared, call, config)
        except (GraphBubbleUp, *STOPPING):
            raise
        except EffectUnknown as error:
            if not _failed_before(error.key, config):
                raise  # the process died in the middle of it: for a person to decide
            return f"It failed before. {OPEN}", "unknown"
        except ToolException as error:
            return capped(f"{note}{tool.name} failed: {error}", self._max_chars), "failed"
        except Exception as error:
            timed_out = isinstance(error, TimedOut)
            reason = str(error) if timed_out else f"{type(error).__name__}: {error}"
            open_end = f" {OPEN}" if self._is_once(prepared, config) else ""
            outcome: Outcome = "timed out" if timed_out else "failed"
            return f"{note}{tool.name} failed: {scrubbed(reason)}{open_end}", outcome
        return (note + content if isinstance(content, str) else content), "ran"

    async def _as_recorded(
        self, recorded: RecordedRun, call: ToolCall, config: RunnableConfig, note: str
    ) -> tuple[Content, Outcome]:
        """Return what the call brought in the recorded run; one that is not on record is not made."""
        here = RunContext.of(config)
        arguments = json_text(call["args"])
        result = await recorded.tool(here.path, call["name"], arguments)
        if result is None:
            depart(here, "tool", call["name"], f"{call['name']}({arguments[:MAX_REASON]})")
        content = note + result.content if isinstance(result.content, str) else result.content
        return content, cast("Outcome", result.outcome)

    async def _content(self, prepared: _Call, call: ToolCall, config: RunnableConfig) -> Content:
        make = self._only_once if self._is_once(prepared, config) else self._in_time
        if prepared.served is None:
            return await make(prepared, call, config)
        return await self.servers.in_turn(prepared.served, config, lambda: make(prepared, call, config))

    def _is_once(self, prepared: _Call, config: RunnableConfig) -> bool:
        """Tell whether a call happens once; a server's tool does so by itself, in a session."""
        if prepared.tool.name in self._once:
            return True
        return (
            prepared.served is not None and prepared.served.once and RunContext.of(config).session is not None
        )

    async def _only_once(self, prepared: _Call, call: ToolCall, config: RunnableConfig) -> Content:
        async def happen(_: Once) -> dict[str, Any]:
            return {"result": await self._in_time(prepared, call, config)}

        happen.__name__ = prepared.tool.name
        own = self._once.get(prepared.tool.name)
        # By itself, a server's tool does each call of the model once: the next in the same words is another.
        by_call = prepared.served is not None and prepared.tool.name not in self._once
        effect: Effect[Any] = Effect(
            happen,
            state=Once,
            key=(lambda once: own(once["arguments"])) if own else None,
            reads=("arguments", "call") if by_call else ("arguments",),
            undone=(ToolException, MadeAgain),
            retry=prepared.served is not None and prepared.served.may_repeat,
            may_ask=prepared.served is not None,
        )
        once: dict[str, Any] = {"arguments": call["args"]}
        if by_call:
            once["call"] = f"{prepared.question} {call['id']}"
            here, again = RunContext.of(config), count(2)
            # Not every server of models tells calls apart: the thread's next input may have the same ids.
            while here.session and (
                earlier := find_effect(here.session.journal, effect.key_of(once, config))
            ):
                if not is_of_an_earlier_input(here.session.journal, earlier, here.thread_id):
                    break
                once["call"] = f"{prepared.question} {call['id']} {next(again)}"
        update = await effect.ainvoke(once, config)
        return cast("Content", update.get("result", "A person confirmed that this happened."))

    async def _in_time(self, prepared: _Call, call: ToolCall, config: RunnableConfig) -> Content:
        ledgers = RunContext.of(config).ledgers
        left = [seconds for ledger in ledgers if (seconds := ledger.seconds_left()) is not None]
        limit = max(0.0, min([self._timeout_s, *left]))
        task = asyncio.ensure_future(_invoke(prepared.node, call, config))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            finished, _ = await asyncio.wait({task}, timeout=None if math.isinf(limit) else limit)
        finally:
            task.cancel()
        if not finished:
            raise TimedOut(f"it was stopped after {limit:g} s.")
        return capped(task.result(), self._max_chars)


async def _invoke(node: ToolNode, call: ToolCall, config: RunnableConfig) -> Content:
    try:
        output = await node.ainvoke([{**call, "type": "tool_call"}], config)
    except ToolInvocationError as error:  # the arguments fit, so it comes from inside the tool
        raise error.source from None
    messages = output.get("messages") if isinstance(output, dict) else None
    if not messages or len(messages) != 1 or not isinstance(messages[0], ToolMessage):
        raise DefinitionError(
            f"The tool {call['name']!r} returned a Command. In an agent, a tool returns what the model "
            "shall read; the graph around the agent decides where to go."
        )
    content: Content = plain(messages[0].content)
    if messages[0].status == "error":
        raise ToolException(content if isinstance(content, str) else json_text(content))
    return _showable(content)


def _showable(content: Content) -> Content:
    """Return what the model can be shown of a result; that it cannot is told, for the tool did its work."""
    if not isinstance(content, list):
        return content
    shown = []
    for part in content:
        try:
            wire_part(part)
        except InputError as error:
            part = {"type": "text", "text": f"[a part of the result that cannot be shown: {error}]"}
        shown.append(part)
    return content if shown == content else plain(shown)


def _node_of(tools: Iterable[BaseTool]) -> ToolNode:
    return ToolNode(list(tools), handle_tool_errors=False, awrap_tool_call=_off_the_loop)


async def _off_the_loop(request: ToolCallRequest, execute: Callable[[ToolCallRequest], Any]) -> Any:
    tool = request.tool
    if tool is not None and not is_async(tool):
        threaded = _Threaded(name=tool.name, description=tool.description, inner=tool)
        request = request.override(tool=threaded)
    return await execute(request)


def _review_of(tool: BaseTool) -> Review[Any]:
    schema: Any = tool.tool_call_schema
    typed = isinstance(schema, type) and issubclass(schema, BaseModel)
    state = create_model(f"{tool.name}_call", arguments=(schema if typed else dict[str, Any], ...))

    def question(_: Any) -> str:
        return f"Run {tool.name}? {tool.description}".strip()

    question.__name__ = tool.name
    return Review(question, "arguments", state=state, reason=None)


def _arguments(verdict: Verdict) -> dict[str, Any]:
    value = verdict.value
    return value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else dict(value)


def _failed_before(key: str, config: RunnableConfig) -> bool:
    """Tell whether an open effect failed while somebody was there to see it."""
    session = RunContext.of(config).session
    effect = None if session is None else find_effect(session.journal, key)
    return effect is not None and effect.error is not None


def capped(content: Content, limit: int) -> Content:
    """Return a result with at most `limit` characters, and a mark where it was cut; images stay whole."""
    if isinstance(content, list) and any(map(is_medium, content)):
        return [part if is_medium(part) else _capped_part(part, limit) for part in content]
    text = content if isinstance(content, str) else json_text(content)
    if len(text) <= limit:
        return content
    return f"{text[:limit]}\n[cut: {limit} of {len(text)} characters are shown]"


def _capped_part(part: Any, limit: int) -> Any:
    if isinstance(part, Mapping):
        return {**part, "text": capped(str(part.get("text", "")), limit)}
    return capped(str(part), limit)


def _shown(call: ToolCall, served: ServerTool | None) -> str:
    place = "" if served is None else f"{served.server}/"
    return f"{place}{call['name']}({json_text(call['args'])})"
