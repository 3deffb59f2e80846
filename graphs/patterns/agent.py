"""The agent: a tool loop inside one step of a fixed backbone."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Annotated, Any, Literal, Required, TypedDict

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    HumanMessage,
    RemoveMessage,
    ToolCall,
    ToolMessage,
    convert_to_messages,
)
from langchain_core.runnables import RunnableConfig
from langchain_core.utils.json_schema import dereference_refs
from langgraph.graph import END, START
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.types import Send
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ...nodes.answers import ValidationFailed, form_of
from ...nodes.contexts import READ, Context, LeftOut, read_again
from ...nodes.costs import All, Asks, Times
from ...nodes.mcp_servers import MCPServer
from ...nodes.mcp_tools import ServerTool
from ...nodes.node import Node, Update, record_decision
from ...nodes.openai_messages import state_of, to_openai
from ...nodes.steps import Step
from ...nodes.toolkits import AnyTool
from ...nodes.tools import MAX_REASON, Key, Tools
from ...nodes.windows import Window
from ...providers.model import Message, Reply, Request, ToolCall as ModelToolCall, WrappedSchema
from ...providers.stack.tool_emulation import FINAL_ANSWER
from ...state.errors import DefinitionError, did_you_mean
from ...state.json_text import json_text
from ...state.names import LEFT_OUT, MESSAGES, TOOLBOX
from ...state.run_context import RunContext
from ...state.schema import extended, restored, values_of
from ...state.serde import allow
from ..engine.options import check_counts
from ..engine.workflow import SoFar, Workflow

T = TypeVar("T")

TURNS = "stepgraph_turns"
WHOLE = 10**9  # characters
NO_MORE_TOOLS = "You can call no more tools. Give your final answer now, with what you know."
MAX_ID = 200  # characters


@dataclass(frozen=True)
class Turns:
    """The loop's private record: how many turns were taken, and whether there is another one."""

    number: int = 0
    going: bool = True


allow(Turns)


class AgentState(TypedDict):
    """What the loop's edge reads."""

    stepgraph_messages: Annotated[list[AnyMessage], add_messages]
    stepgraph_turns: Turns


class ServedState(AgentState):
    """What it reads where there are tools of servers."""

    stepgraph_toolbox: tuple[ServerTool, ...]


class ToolInput(TypedDict, total=False):
    """What the tools' node is sent: one tool call, and for a server's tool what it is known by."""

    stepgraph_call: Required[ToolCall]
    stepgraph_toolbox: ServerTool
    stepgraph_question: str


@dataclass(eq=False)
class _Question(Node[Any]):
    """Writes the question as the first messages, in place of those of an earlier run on the thread."""

    step: Step[Any, Any]
    tools: Tools
    has_context: bool

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        messages = convert_to_messages([dict(m) for m in self.step.ask(input).messages()])
        for number, message in enumerate(messages):
            message.id = f"question-{number}"
        update = {MESSAGES: [RemoveMessage(id=REMOVE_ALL_MESSAGES), *messages], TURNS: Turns()}
        if self.tools.servers:
            update[TOOLBOX] = await self.tools.listed(config)
        if self.has_context:
            update[LEFT_OUT] = LeftOut()
        return update


class _Turn(Node[Any]):
    """Asks the model once: it wants tools run, or gives the answer."""

    def __init__(
        self, step: Step[Any, Any], tools: Tools, *, turns: int, calls: int, window: Window | None
    ) -> None:
        self.name = step.name
        self.writes = step.writes
        self._step = step
        self._form = form_of(step.answer_type)
        self._own = tools.by_name
        self._limit = turns
        self._calls = calls
        self._window = window
        self._tools = (*tools.schemas, *([window.tool] if window else []))
        self._final: tuple[Mapping[str, Any], ...] = ()
        if self._form.schema is not None:
            final = dereference_refs(self._form.schema)
            final.pop("$defs", None)
            if isinstance(self._form.schema, WrappedSchema):
                final = WrappedSchema(final)
            description = "Give the final answer, once you know it."
            self._final = ({"name": FINAL_ANSWER, "description": description, "parameters": final},)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        values = values_of(input)
        number = values[TURNS].number + 1
        served: tuple[ServerTool, ...] = values.get(TOOLBOX, ())
        tools = (*self._tools, *(tool.schema for tool in served), *self._final)
        full_request = replace(self._step.request(restored(input, self._step.state)), tools=tools)
        is_last = number > self._limit

        def request_of(shown: Sequence[AnyMessage]) -> Request:
            request = replace(full_request, messages=to_openai(shown), schema=None)
            return self._last(request) if is_last else request

        out: Update = {}
        if self._window is None:
            request = request_of(values[MESSAGES])
        else:
            left_out = values.get(LEFT_OUT) or LeftOut()
            out[LEFT_OUT], request = await self._window.fitted(request_of, values[MESSAGES], left_out, config)
        if is_last:
            value = await self._step.answer_to(request, config)  # a misfit is asked again, as any step's is
            record_decision(config, "agent", "turns used up", reason=f"{self._limit} turns")
            return self._end(value, number)

        reply = await self._step.complete(request, config)
        calls = _with_ids(reply.tool_calls, number, values[MESSAGES])
        answers = [call for call in calls if call.name == FINAL_ANSWER]
        try:
            if answers or not calls:
                value = self._read(reply, answers, request)
                record_decision(config, "agent", "answered", reason=f"turn {number}")
                return self._end(value, number)
        except ValidationFailed as failure:
            problems = str(failure)
            _note_problem(reply, problems, config)
        else:
            problems = ""

        turn: AnyMessage = AIMessage(
            content=reply.text or ("" if calls else "(nothing)"),
            tool_calls=[_langchain_call(call) for call in calls],
            additional_kwargs=state_of(reply, calls),
            id=f"turn-{number}",
        )
        known = [*self._own, *(tool.name for tool in served)]
        refusals = self._refusals(calls, problems, number, known, values[MESSAGES])
        names = [call["name"] for call in pending([turn, *refusals])]
        choice = ", ".join(names) or "again"
        shown = json_text([[call.name, call.arguments] for call in calls])
        reason = f"turn {number} of {self._limit}: {problems or shown}"
        record_decision(config, "agent", choice[:MAX_REASON], reason=reason[:MAX_REASON])
        return {MESSAGES: [turn, *refusals], TURNS: Turns(number), **out}

    def _last(self, request: Request) -> Request:
        """Return the request for the answer, for which no more tools may be called."""
        last: Message = {"role": "user", "content": NO_MORE_TOOLS}
        messages = (*request.messages, last)
        return replace(request, messages=messages, schema=self._form.schema, tool_choice="none")

    def _end(self, value: Any, number: int) -> dict[str, Any]:
        turn = AIMessage(content=self._form.text(value), id=f"turn-{number}")
        return {**self._step.update(value), MESSAGES: [turn], TURNS: Turns(number, going=False)}

    def _read(self, reply: Reply, answers: Sequence[ModelToolCall], request: Request) -> Any:
        if not answers:
            return self._form.read(reply, request)
        if answers[0].problem:
            raise ValidationFailed(f"The answer cannot be read: {answers[0].problem}.")
        text = json_text(answers[0].arguments)
        if self._form.schema is None:
            text = str(answers[0].arguments.get("answer", ""))
        return self._form.read(reply, request, text)

    def _refusals(
        self,
        calls: Sequence[ModelToolCall],
        problems: str,
        number: int,
        known: Sequence[str],
        messages: Sequence[AnyMessage],
    ) -> list[AnyMessage]:
        """Return what the model reads at once: what it reads again, and why calls are not made."""
        if not calls:
            how = f" Call {FINAL_ANSWER}, or a tool." if self._form.schema is not None else ""
            text = f"That answer does not fit: {problems}{how}\nAnswer again, correctly."
            return [HumanMessage(content=text, id=f"told-{number}")]
        refused: list[AnyMessage] = []
        accepted = 0
        for call in calls:
            if call.name == READ and self._window and not call.problem:
                refused.append(_result(call, read_again(messages, call.arguments), "success"))
                continue
            problem = self._problem(call, problems, accepted, known)
            accepted += not problem
            if problem:
                refused.append(_result(call, problem))
        return refused

    def _problem(self, call: ModelToolCall, problems: str, accepted: int, known: Sequence[str]) -> str | None:
        if call.name == FINAL_ANSWER:
            return f"That answer does not fit: {problems} Answer again, correctly."
        if call.problem:
            return f"The call cannot be read: {call.problem}. Make it again, shorter if it was cut off."
        if call.name not in known:
            return f"There is no tool {call.name!r:.100}. {did_you_mean(call.name[:100], known)}"
        if accepted >= self._calls:
            return f"This call was not made: at most {self._calls} tools are run at once. Call it again."
        return None


def sent(call: ToolCall, state: Mapping[str, Any]) -> ToolInput:
    """Return what the tools' node gets of a call."""
    tools: Sequence[ServerTool] = state.get(TOOLBOX, ())
    served = next((tool for tool in tools if tool.name == call["name"]), None)
    if served is None:
        return ToolInput(stepgraph_call=call)
    questions = [[m.type, m.content] for m in state[MESSAGES] if str(m.id).startswith("question-")]
    digest = hashlib.sha256(json_text(questions).encode("utf-8", "replace")).hexdigest()[:20]
    return ToolInput(stepgraph_call=call, stepgraph_toolbox=served, stepgraph_question=digest)


def pending(messages: Sequence[AnyMessage]) -> list[ToolCall]:
    """Return the tool calls that were not answered yet."""
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    last = next((m for m in reversed(messages) if isinstance(m, AIMessage)), None)
    return [call for call in last.tool_calls if call["id"] not in answered] if last else []


def _with_ids(
    calls: Sequence[ModelToolCall], number: int, messages: Sequence[AnyMessage]
) -> list[ModelToolCall]:
    """Return the calls with ids that tell them apart within the conversation, as some servers' do not.

    A person's decision and a result belong to an id, so no two calls share one: neither with a call of any
    turn before, nor with one that comes later in this answer. An id that is made has nine letters and
    digits, which is what the strictest servers take.
    """
    used = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    used |= {call["id"] or "" for m in messages if isinstance(m, AIMessage) for call in m.tool_calls}
    call_ids = {call.id for call in calls}
    named: list[ModelToolCall] = []
    for place, call in enumerate(calls):
        own = call.id
        if own in used or not own.strip() or not own.isprintable() or len(own) > MAX_ID:
            candidates = (f"call{n:05d}" for n in count(number * 100 + place))
            own = next(name for name in candidates if name not in used and name not in call_ids)
        used.add(own)
        named.append(replace(call, name=call.name or "unreadable", id=own))
    return named


def _langchain_call(call: ModelToolCall) -> ToolCall:
    return ToolCall(name=call.name, args=dict(call.arguments), id=call.id, type="tool_call")


def _result(call: ModelToolCall, content: str, status: Literal["success", "error"] = "error") -> ToolMessage:
    return ToolMessage(
        content=content, name=call.name, tool_call_id=call.id, status=status, id=f"result-{call.id}"
    )


def _note_problem(reply: Reply, problem: str, config: RunnableConfig | None) -> None:
    here = RunContext.of(config)
    if here.session is not None and reply.call_id and not reply.replayed:
        here.session.journal.note_problem(here.thread_id, reply.call_id, problem)


def agent(
    step: Step[StateT, T],
    *,
    tools: Sequence[AnyTool | MCPServer] | MCPServer,
    turns: int = 8,
    calls: int = 8,
    timeout_s: float = 30.0,
    max_chars: int = 10_000,
    approve: Sequence[str] = (),
    once: Sequence[str] | Mapping[str, Key] = (),
    context: Context | None = None,
    name: str | None = None,
) -> Workflow[StateT]:
    """Let a step's model call tools until it has its answer, which is of the step's type as always.

    Each turn asks the model once, then runs the tools it calls, at most `calls` of them at a time and
    all at once. `tools` are LangChain tools or plain functions. The model gets a message for a tool that
    raises, takes longer than `timeout_s` seconds, is called wrongly or does not exist; of a result it gets
    the first `max_chars` characters. Control returns to the graph around it once the model answers, or after
    `turns` turns, when it is asked for its answer without tools.

    Tools in `approve` wait for a person, who is asked as by a `review` and may change the arguments.
    Tools in `once` are not run again with the same arguments in this place of the thread, whatever is
    resumed, replayed or forked; {"refund": lambda arguments: arguments["order"]} gives the key by which
    a call is the same in all threads. Both need a session, as does the end of a budget (`within`).

    A `context` keeps a long conversation within so many tokens; what it leaves out, the model can read again.

    Costs at most `turns` + 1 model calls, and re-asks if the last answer does not fit its type.

        @step("reply", model="large")
        def help(ticket: Ticket) -> Ask[str]:
            return Ask(f"Answer: {ticket.body}", system="Look things up; do not guess.")

        agent(help, tools=[find_order, send_email], approve=["send_email"], once=["send_email"])
    """
    if not isinstance(step, Step):
        raise DefinitionError("agent() takes a step: @step(…) on a function that says what to ask.")
    check_counts("agent", turns=turns, calls=calls, max_chars=max_chars)
    if not timeout_s > 0:
        raise DefinitionError(f"agent(timeout_s={timeout_s!r}): expected seconds, more than 0.")
    several = [tools] if isinstance(tools, MCPServer) else tools
    window = None if context is None else Window(step, context, max_chars)
    whole = max_chars if window is None else WHOLE  # what is not shown is read again
    box = Tools(several, timeout_s=timeout_s, max_chars=whole, approve=approve, once=once)
    state = step.state
    graph: Workflow[StateT] = Workflow(state, name or f"agent_{step.name}")
    if once:
        graph.promises.append(f"agent(once={sorted(once)!r}) runs each call of a tool once")
    begin = graph.add_part(_Question(step, box, window is not None), "begin")
    reads = extended(extended(state, TURNS, Turns), MESSAGES, Annotated[list[AnyMessage], add_messages])
    if box.servers:
        reads = extended(reads, TOOLBOX, tuple[ServerTool, ...])
    if window is not None:
        reads = extended(reads, LEFT_OUT, LeftOut)
        if READ in box.by_name:
            raise DefinitionError(f"agent(context=…) has a tool {READ!r} of its own. Rename yours.")
    turn = graph.add_part(_Turn(step, box, turns=turns, calls=calls, window=window), reads=reads)
    run = graph.add_part(box, reads=ToolInput)
    once_asked = copy.copy(step)
    once_asked.tries = 1
    graph.writes = step.writes
    costs = [Times(Asks(once_asked), 1, turns), Times(Asks(step), 0, 1)]
    if window is not None and window.summariser is not None:
        costs.append(Times(Asks(window.summariser), 0, turns))
    graph.cost = All(tuple(costs))

    def then(state: Any) -> Any:
        if not state["stepgraph_turns"].going:
            return "done"
        return [Send(run, sent(call, state)) for call in pending(state["stepgraph_messages"])] or "again"

    def so_far(values: Mapping[str, Any]) -> SoFar:
        taken = values.get(TURNS)
        going = isinstance(taken, Turns) and taken.going and taken.number
        return SoFar(hidden=frozenset({turn, run} if going else ()))

    then.__annotations__["state"] = ServedState if box.servers else AgentState
    graph.so_far = so_far
    graph.add_edge(START, begin)
    graph.add_edge(begin, turn)
    graph.add_conditional_edges(turn, then, {"done": END, "again": turn, run: run})
    graph.add_edge(run, turn)
    return graph
