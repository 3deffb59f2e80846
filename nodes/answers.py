"""From a type to the JSON schema that asks for it, and from a model's text back to the type."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from ..providers.model import Reply, Request, WrappedSchema
from ..state.errors import DefinitionError
from ..state.json_text import MAX_NESTING, is_too_deep, json_text
from ..state.schema import remembered
from ..state.statuses import CUT
from .found_json import json_in

MAX_LENGTH = 60  # of what is shown of a value that does not fit


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

    def read(self, reply: Reply, request: Request, text: str | None = None) -> Any:
        """Return a reply's answer, or that in `text`, if it will do. Raises ValidationFailed."""
        value = self.taken(reply, whole=request.whole) if text is None else self.parse(text)
        opinion = None if request.check is None else request.check(value)
        if opinion is not None and opinion is not True:
            raise ValidationFailed(opinion or "It does not pass a check.")
        return value

    def taken(self, reply: Reply, *, whole: bool) -> Any:
        """Return a reply's answer as its type. Raises ValidationFailed."""
        if not reply.text.strip() and reply.media and self.schema is None:
            kinds = ", ".join(str(block["type"]) for block in reply.media)
            raise ValidationFailed(f"The answer is no text, but: {kinds}. Ask[AIMessage] takes it.")
        return self.parse(reply.text, reply.finish_reason, whole=whole)

    def parse(self, text: str, finish_reason: str | None = None, *, whole: bool = False) -> Any:
        """Return the answer as its type. Raises ValidationFailed.

        A text that was cut at its token limit is one, unless it must be `whole`.
        """
        cut = finish_reason == CUT
        if not text.strip():
            why = " Its tokens were used up before it began." if cut else ""
            raise ValidationFailed(f"The answer was empty.{why}")
        if self.schema is None:
            if cut and whole:
                raise ValidationFailed("The answer was cut off: answer shorter.")
            return text.strip()
        values = list(self._values_in(text))
        if not values:
            raise ValidationFailed(self._describe(text, cut=cut))
        if any(value != values[0] for value in values):
            raise ValidationFailed("The answer holds more than one JSON value: give one.")
        return values[0]

    def _values_in(self, text: str) -> Iterator[Any]:
        for body in json_in(text):
            try:
                value = self.adapter.validate_json(body)
            except ValidationError:
                continue
            if _is_too_deep(body):
                continue
            yield value.answer if self.wrapped else value
            if body is text:
                return

    def _describe(self, text: str, *, cut: bool) -> str:
        """Return all that is wrong with an answer, in the place where the most of it is JSON."""
        problems = [problem for body in json_in(text) if (problem := self._problems(body))]
        if problems:
            return problems[-1]
        try:
            self.adapter.validate_json(text)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_context=False)[0]["msg"]
            how = " It was cut off: answer shorter." if cut else " Answer with the JSON alone."
            return f"The answer is not valid JSON: {problem}.{how}"
        raise AssertionError("a text that fits has no problems")

    def _problems(self, body: str) -> str:
        """Return what is wrong with a JSON value, nothing if it is none."""
        try:
            self.adapter.validate_json(body)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False)
            if problems[0]["type"] == "json_invalid":
                return ""
            return _listed(problems, json.loads(body))
        return f"answer: it is nested more than {MAX_NESTING} deep" if _is_too_deep(body) else ""


def _is_too_deep(body: str) -> bool:
    """Tell whether a checkpoint might not be able to keep an answer, however plain its parts are."""
    return body.count("[") + body.count("{") > MAX_NESTING and is_too_deep(json.loads(body))


class MessageForm(AnswerForm):
    """An answer as the whole message: its text, and the images, sounds and files that came with it."""

    def text(self, value: Any) -> str:
        return str(value.text) if isinstance(value, AIMessage) else str(value)

    def taken(self, reply: Reply, *, whole: bool) -> AIMessage:
        if reply.media:
            content: list[Any] = [{"type": "text", "text": reply.text}] if reply.text.strip() else []
            return AIMessage([*content, *map(dict, reply.media)])
        return self.parse(reply.text, reply.finish_reason, whole=whole)

    def parse(self, text: str, finish_reason: str | None = None, *, whole: bool = False) -> AIMessage:
        return AIMessage(super().parse(text, finish_reason, whole=whole))


def _listed(problems: Sequence[Any], value: Any) -> str:
    """Return every problem with its path; the same one in many places is told once, with all of them."""
    places: dict[tuple[str, str], list[list[int]]] = {}
    for item in problems:
        path, numbers = _path(item, value)
        got = "" if item["type"] == "missing" else f", got {_brief(item['input'])}"
        places.setdefault((path, f"{item['msg']}{got}"), []).append(numbers)
    return "; ".join(f"{_numbered(path, numbers)}: {problem}" for (path, problem), numbers in places.items())


def _path(problem: Any, value: Any) -> tuple[str, list[int]]:
    """Return a problem's path, with "[#]" for places in lists, and these places.

    pydantic's own has names of types in it, where a field takes one of several.
    """
    path, numbers = "", []
    location = problem["loc"]
    for place, part in enumerate(location):
        last = place == len(location) - 1
        if isinstance(part, int) and isinstance(value, list) and part < len(value):
            path, value = f"{path}[#]", value[part]
            numbers.append(part)
        elif isinstance(value, Mapping) and (part in value or (last and problem["type"] == "missing")):
            path, value = f"{path}.{part}" if path else str(part), value.get(part)
    return path or "answer", numbers


def _numbered(path: str, places: Sequence[Sequence[int]]) -> str:
    """Return a path with its places in lists: "lines[0, 2-4].text"."""
    parts = path.split("[#]")
    columns = [sorted(set(column)) for column in zip(*places, strict=True)]
    if len(columns) > 1 and len(places) > 1:
        whole = ("".join(f"{p}[{n}]" for p, n in zip(parts, numbers, strict=False)) for numbers in places)
        return ", ".join(f"{text}{parts[-1]}" for text in whole)
    texts = [f"{part}[{_ranges(column)}]" for part, column in zip(parts, columns, strict=False)]
    return "".join(texts) + parts[-1]


def _ranges(numbers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}…"


@remembered
def form_of(answer: Any) -> AnswerForm:
    """Return the form of an answer type. Raises DefinitionError for a type without JSON schema."""
    name = getattr(answer, "__name__", None) or str(answer)
    if answer is AIMessage:
        return MessageForm("AIMessage", None, TypeAdapter(AIMessage), wrapped=False)
    if answer is str:
        return AnswerForm("text", None, TypeAdapter(str), wrapped=False)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(answer)
        schema = adapter.json_schema()
        if _is_object(schema):
            return AnswerForm(name, schema, adapter, wrapped=False)
        from pydantic import create_model

        model = create_model("Answer", answer=(answer, ...))
        return AnswerForm(name, WrappedSchema(model.model_json_schema()), TypeAdapter(model), wrapped=True)
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
