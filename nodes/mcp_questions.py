"""What an MCP server asks a person during a call: an interrupt, answered like a review.

The run parks, and its session with the server is closed. Once somebody has answered, the call is made again
from its start, with the answer at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.types import interrupt

from ..state.errors import InputError
from ..state.names import REVIEW
from ..state.run_context import RunContext
from .node import record_decision
from .reviews import DECISIONS, InvalidVerdict, parsed_answer

if TYPE_CHECKING:
    from mcp.types import ElicitRequestParams, ElicitResult

FIELD: Final = "answer"


def asked_of_a_person(
    params: ElicitRequestParams, server: str, tool: str, config: RunnableConfig | None
) -> ElicitResult:
    """Return a person's answer to a server's question; interrupts the run if there is none yet."""
    here = RunContext.of(config)
    if not here.checkpointer:
        raise InputError(
            f"The MCP server {server!r} asks a person something, so the run must be kept until it is "
            "answered: give it a session, app.invoke(state, session.config(thread_id))."
        )
    link = getattr(params, "url", "")
    schema: dict[str, Any] = getattr(params, "requestedSchema", None) or {"type": "object", "properties": {}}
    question: dict[str, Any] = {
        "kind": REVIEW,
        "review": tool,
        "question": f"{server} asks: {params.message}" + (f" Open {link}" if link else ""),
        "field": FIELD,
        "value": proposed(schema),
        "decisions": list(DECISIONS),
        "schema": schema,
        "path": here.path,
    }
    while True:
        answer = interrupt(question)
        try:
            result = read(answer, question["value"], schema)
        except InvalidVerdict as problem:
            question["problem"] = str(problem)
            continue
        record_decision(
            config, "review", result.action, reason=f"{server}/{tool} asked: {params.message}"[:500]
        )
        return result


def proposed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an approval says: the defaults, and yes to whatever is yes or no."""
    fields: Mapping[str, Any] = schema.get("properties", {})
    values = {name: field["default"] for name, field in fields.items() if "default" in field}
    return {name: True for name, field in fields.items() if field.get("type") == "boolean"} | values


def read(answer: Any, value: Mapping[str, Any], schema: Mapping[str, Any]) -> ElicitResult:
    """Return what goes to the server. Raises InvalidVerdict, which tells the person what to fix."""
    from mcp.types import ElicitResult

    if isinstance(answer, Mapping) and "action" in answer:  # as the protocol has it
        if answer["action"] in ("decline", "cancel"):
            return ElicitResult(action=answer["action"])
        content = answer.get("content") or {}
    elif isinstance(answer, Mapping) and "decision" not in answer:
        content = dict(answer)
    else:
        verdict = parsed_answer(answer)
        if verdict.decision == "reject":
            return ElicitResult(action="decline")
        content = dict(value) if verdict.decision == "approve" else verdict.value
    if problem := _problem(content, schema):
        raise InvalidVerdict(problem)
    return ElicitResult(action="accept", content=content)


def _problem(content: Any, schema: Mapping[str, Any]) -> str | None:
    from jsonschema import Draft202012Validator

    problems = [
        f"{'.'.join(map(str, error.absolute_path)) or FIELD}: {error.message}"
        for error in Draft202012Validator(schema).iter_errors(content)
    ]
    return (
        f"{'; '.join(problems[:5])}. Give the values: an edit, with all that is asked for."
        if problems
        else None
    )
