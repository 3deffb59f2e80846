"""From a type to the JSON schema that asks for it, and from a model's text back to the type."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from ..state.errors import DefinitionError
from ..state.json_text import json_text
from ..state.schema import remembered

_FENCE = re.compile(r"^\s*```(?:json)?\s*\n(.*)\n\s*```\s*$", re.DOTALL)
MAX_PROBLEMS = 5


class ValidationFailed(ValueError):
    """An answer that does not fit its type; the message tells a model what to fix."""


@dataclass(frozen=True)
class AnswerForm:
    """How one type is asked for and read.

    A JSON answer must be an object, so any other type travels as {"answer": …}.
    """

    name: str
    schema: dict[str, Any] | None
    adapter: TypeAdapter[Any]
    wrapped: bool

    def text(self, value: Any) -> str:
        """Return a value as a model would have given it."""
        if self.schema is None:
            return str(value)
        return json_text({"answer": value} if self.wrapped else value)

    def parse(self, text: str, finish_reason: str | None = None) -> Any:
        """Return the answer as its type. Raises ValidationFailed."""
        if self.schema is None:
            if not text.strip():
                raise ValidationFailed("The answer was empty.")
            return text.strip()
        fenced = _FENCE.match(text)
        body = fenced.group(1) if fenced else text
        try:
            value = self.adapter.validate_json(body)
        except ValidationError as error:
            raise ValidationFailed(_problems(error, text, finish_reason)) from None
        return value.answer if self.wrapped else value


def _problems(error: ValidationError, text: str, finish_reason: str | None) -> str:
    if not text.strip():
        return "The answer was empty."
    problems = error.errors(include_url=False, include_context=False)
    if problems[0]["type"] == "json_invalid":
        cut = " It was cut off: answer shorter." if finish_reason == "length" else ""
        return f"The answer is not valid JSON: {problems[0]['msg']}.{cut}"
    lines = [
        f"{'.'.join(map(str, item['loc'])) or 'answer'}: {item['msg']}, got {item['input']!r:.80}"
        for item in problems[:MAX_PROBLEMS]
    ]
    return "; ".join(lines)


@remembered
def form_of(answer: Any) -> AnswerForm:
    """Return the form of an answer type. Raises DefinitionError for a type without JSON schema."""
    name = getattr(answer, "__name__", None) or str(answer)
    if answer is str:
        return AnswerForm("text", None, TypeAdapter(str), wrapped=False)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(answer)
        schema = adapter.json_schema()
        if _is_object(schema):
            return AnswerForm(name, schema, adapter, wrapped=False)
        from pydantic import create_model

        model = create_model("Answer", answer=(answer, ...))
        return AnswerForm(name, model.model_json_schema(), TypeAdapter(model), wrapped=True)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise DefinitionError(
            f"Ask[{name}]: a model cannot answer with this type ({str(error).splitlines()[0]}). Use text, "
            "a number, a bool, a Literal, an Enum, a dataclass, a TypedDict, a pydantic model, or a list."
        ) from None


def _is_object(schema: dict[str, Any]) -> bool:
    if schema.get("type") == "object":
        return True
    reference = schema.get("$ref", "")
    target = schema.get("$defs", {}).get(reference.rsplit("/", 1)[-1], {})
    return bool(reference) and target.get("type") == "object"
