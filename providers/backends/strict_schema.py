"""JSON schemas in the form that strict decoding takes, where they can have it.

Every field of every object is required, no object takes others, nothing has a default, and keywords that the
decoder does not know stand in the description, where the model reads them. A schema that means something else
then is not made strict: free dicts, fields that may be left out and not be null, anything at all.
https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from ..model import Request
from .http import HTTPStatusError

_KNOWN: Final = {
    "type", "enum", "const", "description", "title", "pattern", "format", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems",
}  # fmt: skip
_READ: Final = {"$ref", "$defs", "anyOf", "oneOf", "allOf", "properties", "required", "items"}
_FORMATS: Final = {
    "date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid",
}  # fmt: skip
# These change what fits in ways that no description could stand in for.
_UNFIT: Final = {
    "patternProperties", "unevaluatedProperties", "propertyNames", "prefixItems", "not", "if", "then", "else",
    "dependentRequired", "dependentSchemas",
}  # fmt: skip
_SILENT: Final = {
    "additionalProperties",
    "discriminator",
    "default",
    "$schema",
    "$id",
    "readOnly",
    "writeOnly",
}
MAX_PROPERTIES: Final = 5000
MAX_VALUES: Final = 1000
MAX_DEPTH: Final = 10


class _NotStrict(Exception):
    """The schema cannot be made strict."""


def strict_schema(schema: Mapping[str, Any], *, recursive: bool = True) -> dict[str, Any] | None:
    """Return the schema in strict form, None where it cannot have it.

    `recursive` says whether the decoder takes schemas that refer to themselves.
    """
    try:
        text = json.dumps(schema)
    except (TypeError, ValueError):
        return None
    strict = _strict_text(text, recursive)
    return None if strict is None else json.loads(strict)


@lru_cache(maxsize=512)
def _strict_text(text: str, recursive: bool) -> str | None:
    root: dict[str, Any] = json.loads(text)
    try:
        maker = _Maker(root.get("$defs", {}), recursive)
        if "$ref" in root:
            root = {**maker.definition(root["$ref"]), "$defs": root.get("$defs", {})}
        if root.get("type") != "object":
            return None
        strict = maker.fit({name: value for name, value in root.items() if name != "$defs"}, 1)
        if root.get("$defs"):
            strict["$defs"] = {name: maker.fit(part, 1) for name, part in root["$defs"].items()}
    except _NotStrict:
        return None
    if maker.properties > MAX_PROPERTIES or maker.values > MAX_VALUES:
        return None
    return json.dumps(strict)


class _Maker:
    """Makes the parts of one schema strict, and counts them."""

    def __init__(self, definitions: Mapping[str, Any], recursive: bool) -> None:
        self._definitions = definitions
        self.properties = self.values = 0
        if not recursive and any(name in self._reached(name) for name in definitions):
            raise _NotStrict

    def definition(self, reference: str) -> Mapping[str, Any]:
        definition = self._definitions.get(reference.removeprefix("#/$defs/"))
        if not isinstance(definition, Mapping):
            raise _NotStrict
        return definition

    def _reached(self, name: str) -> set[str]:
        """Return the definitions that one refers to, by way of others as well."""
        reached: set[str] = set()
        waiting = _references(self._definitions.get(name))
        while waiting:
            current = waiting.pop()
            if current not in reached:
                reached.add(current)
                waiting |= _references(self._definitions.get(current))
        return reached

    def fit(self, schema: Any, depth: int) -> dict[str, Any]:
        """Return a part in strict form."""
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH or schema.keys() & _UNFIT:
            raise _NotStrict
        if (parts := schema.get("allOf")) is not None:
            if len(parts) != 1:
                raise _NotStrict
            return self.fit({**parts[0], **{n: v for n, v in schema.items() if n != "allOf"}}, depth)
        part = {name: schema[name] for name in schema if name in _KNOWN}
        moved = {n: v for n, v in schema.items() if n not in _KNOWN | _READ | _SILENT}
        if "format" in part and part["format"] not in _FORMATS:
            moved["format"] = part.pop("format")
        if schema.get("default") is not None:
            moved["default"] = schema["default"]
        if moved:
            notes = ", ".join(
                f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in moved.items()
            )
            part["description"] = f"{part.get('description', '')} ({notes})".lstrip()
        self.values += len(part.get("enum", ()))
        if "$ref" in schema:
            self.definition(schema["$ref"])
            only: dict[str, Any] = {"$ref": schema["$ref"]}
            return {**part, "anyOf": [only]} if part else only
        choices = schema.get("anyOf", schema.get("oneOf"))
        if choices is not None:
            return {**part, "anyOf": [self.fit(choice, depth) for choice in choices]}
        return part | self._rest(schema, part, depth)

    def _rest(self, schema: Mapping[str, Any], part: dict[str, Any], depth: int) -> dict[str, Any]:
        kinds = schema.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        more: dict[str, Any] = {}
        if "object" in kinds:
            more |= self._object(schema, depth)
        if "array" in kinds:
            more["items"] = self.fit(schema.get("items"), depth + 1)
        if kinds == [None]:
            more["type"] = _kind_of(part)
        return more

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        if schema.get("additionalProperties") not in (None, False):
            raise _NotStrict
        if not properties and schema.get("additionalProperties") is None:
            raise _NotStrict
        self.properties += len(properties)
        required = set(schema.get("required", ()))
        for name, part in properties.items():
            if name not in required and not self._may_be_required(part):
                raise _NotStrict
        fit = {name: self.fit(part, depth + 1) for name, part in properties.items()}
        return {"properties": fit, "required": list(properties), "additionalProperties": False}

    def _may_be_required(self, part: Any) -> bool:
        """Tell whether a model that must give this field can say what leaving it out would have said."""
        if not isinstance(part, Mapping):
            return False
        kinds = part.get("type")
        if "default" in part or kinds in ("array", "null") or (isinstance(kinds, list) and "null" in kinds):
            return True
        choices = part.get("anyOf", part.get("oneOf", ()))
        return any(isinstance(choice, Mapping) and choice.get("type") == "null" for choice in choices)


def _references(schema: Any) -> set[str]:
    if isinstance(schema, Mapping):
        own = {str(schema["$ref"]).removeprefix("#/$defs/")} if "$ref" in schema else set()
        return own.union(*map(_references, schema.values()))
    return set().union(*map(_references, schema)) if isinstance(schema, list) else set()


_KINDS: Final = {"str": "string", "bool": "boolean", "int": "integer", "float": "number", "NoneType": "null"}


def _kind_of(part: Mapping[str, Any]) -> str:
    """Return the type of values that a schema lists without naming it."""
    values = part.get("enum", [part["const"]] if "const" in part else [])
    kinds = {_KINDS.get(type(value).__name__) for value in values}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is None:
        raise _NotStrict
    return kind


def strict_tool(tool: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a function's schema in strict form, None where its parameters cannot have it."""
    parameters = tool.get("parameters") or {"type": "object", "properties": {}, "additionalProperties": False}
    fit = strict_schema(parameters)
    return None if fit is None else {**tool, "parameters": fit, "strict": True}


class StrictForms:
    """Which requests one model is given in strict form: those that it has not refused so.

    It may know fewer keywords than the documents say; then the same schema goes without `strict`.
    """

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._refused: set[str] = set()

    def may_be(self, request: Request) -> bool:
        """Tell whether to ask in strict form."""
        return self._strict and (not self._refused or _mark(request) not in self._refused)

    def functions(self, request: Request) -> list[dict[str, Any]]:
        """Return the tools of a request, each in strict form if it can have that."""
        strict = self.may_be(request)
        fit = [(strict_tool(tool) if strict else None) or dict(tool) for tool in request.tools]
        return [{"type": "function", "function": function} for function in fit]

    def learn(self, error: HTTPStatusError, request: Request) -> bool:
        """Note a request whose strict form was refused; tell whether to ask again without it."""
        if error.status not in (400, 422) or not self.may_be(request):
            return False
        if request.schema is None and not request.tools:
            return False
        if not _REFUSING.search(json.dumps(error.body, default=str)):
            return False
        self._refused.add(_mark(request))
        return True


_REFUSING: Final = re.compile(r"invalid schema for|invalid_json_schema|\bstrict\b", re.IGNORECASE)


def _mark(request: Request) -> str:
    return json.dumps([request.schema, request.tools], sort_keys=True, default=str)
