"""Tools as an agent is given them: their names, their ways to run, and what a call of one may say."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from langchain_core.tools import BaseTool, StructuredTool, Tool, tool as make_tool
from pydantic import BaseModel, ValidationError

from ..providers.stack.tool_emulation import FINAL_ANSWER
from ..state.errors import DefinitionError, did_you_mean

AnyTool: TypeAlias = BaseTool | Callable[..., Any]

MAX_ERRORS = 5


def is_async(tool: BaseTool) -> bool:
    """Tell whether a tool has an async way of its own; LangChain gives the others one over a thread."""
    if getattr(tool, "coroutine", None) is not None:
        return True
    owner = next(cls for cls in type(tool).__mro__ if "_arun" in vars(cls))
    return owner not in (BaseTool, StructuredTool, Tool)


def tools_by_name(tools: Iterable[AnyTool]) -> dict[str, BaseTool]:
    """Return LangChain tools by name; plain functions are made into tools."""
    by_name: dict[str, BaseTool] = {}
    for each in tools:
        tool = each if isinstance(each, BaseTool) else _tool_of(each)
        if tool.name in by_name or tool.name == FINAL_ANSWER:
            why = "reserved" if tool.name == FINAL_ANSWER else "given twice"
            raise DefinitionError(f"agent(tools=…): the name {tool.name!r} is {why}. Rename the tool.")
        by_name[tool.name] = tool
    return by_name


def _tool_of(function: Any) -> BaseTool:
    if not inspect.isroutine(function):
        raise DefinitionError(
            f"agent(tools=…): {function!r} is no tool. Expected a LangChain tool, or a function with "
            "annotated parameters and a docstring."
        )
    try:
        return make_tool(function)
    except ValueError as error:
        raise DefinitionError(f"agent(tools=…): {function.__name__} makes no tool. {error}") from None


def problem_with(tool: BaseTool, arguments: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the arguments of a call, for the model to read."""
    schema: Any = tool.tool_call_schema
    if isinstance(schema, Mapping):
        known, open_ended = schema.get("properties", {}), schema.get("additionalProperties", True)
        missing = [name for name in schema.get("required", ()) if name not in arguments]
        problems = [f"{name}: missing." for name in missing]
    elif isinstance(schema, type) and issubclass(schema, BaseModel):
        known = {name for name, info in schema.model_fields.items()}
        known |= {info.alias for info in schema.model_fields.values() if info.alias}
        open_ended = schema.model_config.get("extra") == "allow"
        problems = _misfits(schema, arguments)
    else:
        return None
    unknown = [] if open_ended else [name for name in arguments if name not in known]
    problems += [f"{name}: there is no such argument. {did_you_mean(name, known)}" for name in unknown]
    return " ".join(problems[:MAX_ERRORS]) or None


def _misfits(schema: type[BaseModel], arguments: Mapping[str, Any]) -> list[str]:
    try:
        schema.model_validate(dict(arguments))
    except ValidationError as error:
        return [
            f"{'.'.join(map(str, item['loc'])) or 'arguments'}: {item['msg']}, got {item['input']!r:.80}."
            for item in error.errors(include_url=False, include_context=False)
        ]
    return []
