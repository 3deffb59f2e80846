"""A workflow as an MCP tool: it runs on a thread, asks its reviews of the client, and says how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from langchain_core.utils.json_schema import dereference_refs

from ...runners.bindings import using_named
from ...runners.loading import Loaded
from ...runners.result import RunResult
from ...runners.run import RunOptions, astream_run
from ...state.budget import Budgets
from ...state.errors import DefinitionError, StepgraphError
from ...state.journal.records import Description
from ...state.keys_in_use import without_keys
from ...state.schema import fields_of, input_schema, json_schema_of, parse_input
from ...state.session.session import Session, new_thread_id
from ...tracing.record.pending import is_review, is_wait
from ...tracing.record.text import clean, plain
from ...tracing.record.threads import is_known
from .inputs import json_or_text
from .text import show_question

if TYPE_CHECKING:
    from langgraph.types import Interrupt
    from mcp.server.lowlevel import Server
    from mcp.types import CallToolResult, Tool

THREAD: Final = "thread_id"
LONGEST_SCHEMA: Final = 2_000  # of a field, in characters; longer ones cost the client too many tokens
RESULT_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "thread_id": {"type": "string"},
        "status": {"type": "string", "enum": ["done", "partial", "interrupted", "failed"]},
        "output": {"type": "object", "description": "The state, or the best so far."},
        "waiting": {"type": "array", "description": "What the run waits for: id and question."},
        "message": {"type": "string"},
    },
    "required": ["thread_id", "status"],
}


class WorkflowTool:
    """Two tools: one begins a run, and `resume_…` goes on with one that waits or has stopped."""

    def __init__(
        self, loaded: Loaded, session: Session, models: Mapping[str, str], budget: Budgets | None
    ) -> None:
        self._loaded = loaded
        self._session = session
        self._models = models
        self._budget = budget

    def server(self) -> Server[Any, Any]:
        """Return the server; each connection is a session of its own with it."""
        from mcp.server.lowlevel import Server

        server: Server[Any, Any] = Server(f"stepgraph {self._loaded.name}")

        async def tools() -> list[Tool]:
            return self.tools()

        async def call(name: str, arguments: dict[str, Any]) -> CallToolResult:
            return await _Call(server, self._loaded, self._session, self._models, self._budget).run(
                name == self.resume_name, arguments
            )

        untyped: Any = server
        untyped.list_tools()(tools)
        untyped.call_tool()(call)
        return server

    @property
    def resume_name(self) -> str:
        return f"resume_{self._loaded.name}"

    def tools(self) -> list[Tool]:
        """Return the tools as a client sees them."""
        from mcp.types import Tool

        name, state = self._loaded.name, self._loaded.state
        about = clean((state.__doc__ or "").strip().split("\n\n")[0])
        own = about if about and not about.startswith(f"{state.__name__}(") else ""
        thread = {"type": "string", "description": "The thread's id, as in the result."}
        answer = {"description": "The answer to what it waits for, if it waits."}
        begin = self._input_schema()
        if THREAD not in begin["properties"]:
            begin["properties"][THREAD] = {"type": "string", "description": "An id of your own for the run."}
        return [
            Tool(
                name=name,
                description=f"Run the workflow {name}. {own}".strip(),
                inputSchema=begin,
                outputSchema=RESULT_SCHEMA,
            ),
            Tool(
                name=self.resume_name,
                description=f"Go on with a run of {name} that waits for an answer or was stopped.",
                inputSchema={
                    "type": "object",
                    "properties": {THREAD: thread, "answer": answer, "id": {"type": "string"}},
                    "required": [THREAD],
                },
                outputSchema=RESULT_SCHEMA,
            ),
        ]

    def _input_schema(self) -> dict[str, Any]:
        state = self._loaded.state
        fields = {name: _field_schema(state, name) for name in fields_of(state)}
        try:
            required = input_schema(state).get("required", [])
        except DefinitionError:
            required = []
        return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


def _field_schema(state: type[Any], name: str) -> dict[str, Any]:
    try:
        schema = json_schema_of(state, name)
        if "$defs" in schema:
            schema = dereference_refs(schema)
            schema.pop("$defs", None)
    except (DefinitionError, RecursionError):
        return {}
    return schema if len(json.dumps(schema, default=str)) <= LONGEST_SCHEMA else {}


class _Call:
    """One call of a client's."""

    def __init__(
        self,
        server: Server[Any, Any],
        loaded: Loaded,
        session: Session,
        models: Mapping[str, str],
        budget: Budgets | None,
    ) -> None:
        self._context = server.request_context
        self._loaded = loaded
        self._session = session
        self._models = models
        self._budget = budget
        self._steps = 0

    async def run(self, resumes: bool, arguments: dict[str, Any]) -> CallToolResult:
        own = THREAD in fields_of(self._loaded.state) and not resumes
        thread = None if own else arguments.pop(THREAD, None)
        thread = thread or new_thread_id(self._loaded.name)
        try:
            with using_named(self._models):
                if resumes:
                    result = await self._resumed(thread, arguments)
                else:
                    result = await self._begun(thread, arguments)
                while result.status == "interrupted" and (answers := await self._answers(result)):
                    result = await self._run(thread, _command(answers))
        except StepgraphError as error:
            return _result(
                {THREAD: thread, "status": "failed", "message": clean(without_keys(str(error)))},
                is_error=True,
            )
        except Exception as error:
            message = without_keys(f"{type(error).__name__}: {error}")
            return _result({THREAD: thread, "status": "failed", "message": clean(message)}, is_error=True)
        return _ended(result)

    async def _begun(self, thread: str, arguments: dict[str, Any]) -> RunResult[Any]:
        state = parse_input(self._loaded.state, arguments)
        if is_known(self._session.journal, thread) and self._loaded.converses:
            state = arguments  # the next turn: what is not said stays as it was
        described = Description(self._loaded.reference, self._models, arguments)
        self._session.journal.queue_run(thread, described)
        return await self._run(thread, state, described)

    async def _resumed(self, thread: str, arguments: dict[str, Any]) -> RunResult[Any]:
        if "answer" not in arguments:
            return await self._run(thread, None)
        answer = arguments["answer"]
        answer = json_or_text(answer) if isinstance(answer, str) else answer
        name = arguments.get("id")
        return await self._run(thread, _command({name: answer} if name else answer))

    async def _run(self, thread: str, state: Any, description: Description | None = None) -> RunResult[Any]:
        options = RunOptions(budget=self._budget)
        if description is not None:
            options["description"] = description
        stream = astream_run(
            self._loaded.graph, state, self._session, thread, stream_mode="updates", **options
        )
        async for part in stream:
            if isinstance(part, RunResult):
                return part
            await self._tell_of(part)
        raise StepgraphError("The run ended without a result.")

    async def _tell_of(self, part: Any) -> None:
        """Tell the client which step has ended, if it wants to hear of progress."""
        meta = self._context.meta
        token = meta.progressToken if meta else None
        if token is None:
            return
        outer = [name.partition(":")[0] for name in part["ns"]]
        for node in part["data"]:
            if node.startswith("__"):
                continue
            self._steps += 1
            await self._context.session.send_progress_notification(
                token, self._steps, message="/".join([*outer, node]), related_request_id=self._request
            )

    @property
    def _request(self) -> str:
        return str(self._context.request_id)

    async def _answers(self, result: RunResult[Any]) -> dict[str, Any]:
        """Return what the client's user says to all that waits; nothing if they do not, or cannot."""
        params = self._context.session.client_params
        can_ask = params is not None and params.capabilities.elicitation is not None
        questions = [item for item in result.waiting if not is_wait(item.value)]
        if not can_ask or not questions:
            return {}
        answers = {}
        for item in questions:
            answer = await self._answer(item)
            if answer is None:
                return {}
            answers[item.id] = answer
        return answers

    async def _answer(self, item: Interrupt) -> Any:
        is_reviewed = is_review(item.value)
        answered = await self._context.session.elicit_form(
            _question(item), REVIEW_FORM if is_reviewed else ANSWER_FORM, self._context.request_id
        )
        if answered.action != "accept" or answered.content is None:
            return None
        content = dict(answered.content)
        if not is_reviewed:
            return json_or_text(str(content.get("answer", "")))
        answer: dict[str, Any] = {"decision": content.get("decision", "approve")}
        if content.get("reason"):
            answer["reason"] = str(content["reason"])
        if answer["decision"] == "edit":
            text = str(content.get("value", ""))
            is_text = item.value.get("schema", {}).get("type") == "string"
            answer["value"] = text if is_text else json_or_text(text)
        return answer


REVIEW_FORM: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "decision": {"type": "string", "enum": ["approve", "reject", "edit"], "default": "approve"},
        "reason": {"type": "string", "description": "Why; a rejection needs it."},
        "value": {"type": "string", "description": "For an edit: the new value, as JSON."},
    },
    "required": ["decision"],
}
ANSWER_FORM: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"answer": {"type": "string", "description": "JSON, or else text."}},
    "required": ["answer"],
}


def _question(item: Interrupt) -> str:
    value = item.value
    if not is_review(value):
        return clean(show_question(value))
    shown = json.dumps(plain(value.get("value")), ensure_ascii=False)
    problem = f" ({value['problem']})" if value.get("problem") else ""
    return clean(f"{value.get('question')}{problem}\n{value.get('field')}: {shown}")


def _command(answers: Any) -> Any:
    from langgraph.types import Command

    return Command(resume=answers)


def _ended(result: RunResult[Any]) -> CallToolResult:
    fields: dict[str, Any] = {
        THREAD: result.thread_id,
        "status": result.status,
        "output": plain(result.values),
    }
    if result.waiting:
        fields["waiting"] = [{"id": item.id, "question": _question(item)} for item in result.waiting]
    if result.limit:
        fields["message"] = result.limit
    return _result(fields)


def _result(fields: dict[str, Any], *, is_error: bool = False) -> CallToolResult:
    from mcp.types import CallToolResult, TextContent

    text = TextContent(type="text", text=json.dumps(fields, ensure_ascii=False))
    return CallToolResult(content=[text], structuredContent=fields, isError=is_error)
