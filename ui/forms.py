"""A form for a value, made of its JSON schema, and the value that was typed into one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from ..state.errors import InputError
from ..tracing.record.text import clean

Kind = Literal["text", "line", "number", "choice", "json"]
VALUE: Final = "value"
LONG: Final = 60  # characters, from which on a text gets several lines
DEEPEST: Final = 40
MOST_CHOICES: Final = 200
MOST_LOOKS: Final = 20_000
_CHECKS: Final[dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "string": ("text", lambda value: isinstance(value, str)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "integer": ("a whole number", lambda value: _is_number(value) and value % 1 == 0),
    "number": ("a number", lambda value: _is_number(value)),
    "array": ("a list", lambda value: isinstance(value, list)),
    "object": ("an object", lambda value: isinstance(value, dict)),
    "null": ("null", lambda value: value is None),
}


@dataclass(frozen=True)
class Entry:
    """One entry of a form; `name` is the form field's, `label` what a person reads."""

    name: str
    label: str
    kind: Kind
    shown: str
    choices: tuple[tuple[str, str], ...] = ()
    hint: str = ""
    required: bool = True


def entries_of(schema: Mapping[str, Any], value: Any, label: str) -> list[Entry]:
    """Return the entries of a form for a value: one for each field of a flat object, else one for all."""
    resolved = _chosen(schema, value)
    fields = _flat(resolved, schema, value)
    if fields is None:
        return [_entry(VALUE, label, resolved, value, required=True)]
    required = resolved.get("required", [])
    return [
        _entry(f"{VALUE}.{name}", name, field, value.get(name, field.get("default")), name in required)
        for name, field in fields.items()
    ]


def typed_value(schema: Mapping[str, Any], value: Any, texts: Mapping[str, str], label: str) -> Any:
    """Return what was typed into the form. Raises InputError that names what does not fit.

    What was left as the form shows it stays as it is: a page shows no signs that hide, and no passwords.
    """
    resolved = _chosen(schema, value)
    fields = _flat(resolved, schema, value)
    shown = {entry.name: clean(entry.shown) for entry in entries_of(schema, value, label)}
    left = {name for name, text in shown.items() if text and texts.get(name) == text}
    if fields is None:
        new = value if VALUE in left else _typed(resolved, texts.get(VALUE, ""), label)
    else:
        required = resolved.get("required", [])
        new = dict(value)
        for name, field in fields.items():
            text = texts.get(f"{VALUE}.{name}", "")
            if f"{VALUE}.{name}" in left and name in value:
                continue
            if not text and name not in required and field.get("type") != "string":
                new.pop(name, None)
            elif text or name in required or name in value:
                new[name] = _typed(field, text, f"{label}.{name}")
    problem = next(_Check(schema).problems(schema, new, label), None)
    if problem is not None:
        raise InputError(problem)
    return new


def _chosen(schema: Mapping[str, Any], value: Any) -> Mapping[str, Any]:
    """Return the schema of a form: of a value that might be nothing, and is not, that of the other option."""
    resolved = _resolved(schema, schema)
    options = resolved.get("anyOf")
    if value is None or not isinstance(options, list):
        return resolved
    others = [option for each in options if (option := _resolved(each, schema)).get("type") != "null"]
    return others[0] if len(others) == 1 else resolved


def _flat(
    schema: Mapping[str, Any], root: Mapping[str, Any], value: Any
) -> dict[str, Mapping[str, Any]] | None:
    """Return the fields of an object whose fields are all simple, None for any other value."""
    fields = schema.get("properties")
    if not isinstance(fields, Mapping) or not fields or not isinstance(value, dict):
        return None
    schemas = {str(name): _resolved(field, root) for name, field in fields.items()}
    return schemas if all(map(_is_simple, schemas.values())) and set(value) <= set(schemas) else None


def _is_simple(schema: Mapping[str, Any]) -> bool:
    return _choices(schema) != () or schema.get("type") in ("string", "boolean", "integer", "number")


def _choices(schema: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what a value is one of, as JSON and as it is read; nothing where it may be anything."""
    if schema.get("type") == "boolean":
        return (("true", "yes"), ("false", "no"))
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(allowed, list) or not 0 < len(allowed) <= MOST_CHOICES:
        return ()
    return tuple((_json(item), item if isinstance(item, str) else _json(item)) for item in allowed)


def _entry(name: str, label: str, schema: Mapping[str, Any], value: Any, required: bool) -> Entry:
    hint = str(schema.get("description") or "")
    if choices := _choices(schema):
        shown = _json(value)
        if not required and shown not in dict(choices):
            choices = (("", "(none)"), *choices)
        return Entry(name, label, "choice", shown, choices, hint, required)
    kind = schema.get("type")
    if kind == "string":
        text = (value if isinstance(value, str) else "").replace("\r\n", "\n")
        is_long = len(text) > LONG or "\n" in text or name == VALUE
        return Entry(name, label, "text" if is_long else "line", text, (), hint, required=False)
    if kind in ("integer", "number"):
        shown = "" if value is None else _json(value)
        return Entry(name, label, "number", shown, (), hint or _CHECKS[kind][0], required)
    shown = json.dumps(value, ensure_ascii=False, indent=2)
    return Entry(name, label, "json", shown, (), hint or f"JSON: {_expected(schema)}", required)


def _typed(schema: Mapping[str, Any], text: str, label: str) -> Any:
    if schema.get("type") == "string" and not _choices(schema):
        return text
    try:
        return json.loads(text)
    except RecursionError:
        raise InputError(f"{label}: the JSON is nested too deep to be read.") from None
    except ValueError as error:
        at = (
            f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        )
        what = _expected(schema)
        raise InputError(f"{label}: expected {what}, as JSON, got {text!r:.60}: {error!s:.80}{at}.") from None


class _Check:
    """Finds what does not fit a schema. The review itself knows all rules; these tell early.

    A schema may come from anywhere: only so much of it is looked at.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = MOST_LOOKS

    def problems(self, schema: Any, value: Any, at: str, depth: int = 0) -> Iterator[str]:
        """Yield what does not fit, each with its place."""
        self._left -= 1
        if not isinstance(schema, Mapping) or depth > DEEPEST or self._left < 0:
            return
        schema = _resolved(schema, self._root)
        options = schema.get("anyOf") or schema.get("oneOf")
        if isinstance(options, list):
            meant = [each for each in options if _is_of_type(_resolved(each, self._root), value)]
            if len(meant) == 1:
                yield from self.problems(meant[0], value, at, depth + 1)
            elif not any(next(self.problems(each, value, at, depth + 1), None) is None for each in options):
                yield f"{at}: {_shown(value)} fits none of what it may be: {_expected(schema)}."
            return
        if not _is_of_type(schema, value):
            expected = " or ".join(_CHECKS[kind][0] for kind in _types(schema))
            yield f"{at}: expected {expected}, got {_shown(value)}."
            return
        choices = _choices(schema) if "enum" in schema or "const" in schema else ()
        if choices and _json(value) not in dict(choices):
            yield f"{at}: expected one of {', '.join(shown for _, shown in choices)}, got {_shown(value)}."
        if isinstance(value, dict):
            yield from self._fields(schema, value, at, depth)
        if isinstance(value, list):
            for number, item in enumerate(value):
                yield from self.problems(schema.get("items"), item, f"{at}[{number}]", depth + 1)

    def _fields(
        self, schema: Mapping[str, Any], value: Mapping[str, Any], at: str, depth: int
    ) -> Iterator[str]:
        fields, others = schema.get("properties"), schema.get("additionalProperties")
        known: Mapping[str, Any] = fields if isinstance(fields, Mapping) else {}
        for name in schema.get("required") or ():
            if name not in value:
                yield f"{at}.{name}: is missing."
        for name, item in value.items():
            if name not in known and others is False:
                yield f"{at}.{name}: is not known. Known are {', '.join(map(str, known)) or 'no fields'}."
            else:
                yield from self.problems(known.get(name, others), item, f"{at}.{name}", depth + 1)


def _expected(schema: Mapping[str, Any], depth: int = 0) -> str:
    options = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(options, list) and depth < 2:
        return " or ".join(_expected(each, depth + 1) for each in options if isinstance(each, Mapping))
    if choices := _choices(schema):
        return "one of " + ", ".join(shown for _, shown in choices)
    kind = schema.get("type")
    if isinstance(kind, str) and kind in _CHECKS:
        return _CHECKS[kind][0]
    return str(schema.get("title") or schema.get("$ref", "").rpartition("/")[2] or "a value")


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema with what it refers to within its root in its place."""
    for _ in range(DEEPEST):
        if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str):
            break
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target.get(part) if isinstance(target, Mapping) else None
        rest = {name: value for name, value in schema.items() if name != "$ref"}
        schema = {**target, **rest} if isinstance(target, Mapping) else rest
    return schema if isinstance(schema, Mapping) else {}


def _types(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type")
    named = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    return [kind for kind in named if isinstance(kind, str) and kind in _CHECKS]


def _is_of_type(schema: Mapping[str, Any], value: Any) -> bool:
    known = _types(schema)
    return not known or any(_CHECKS[kind][1](value) for kind in known)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _shown(value: Any) -> str:
    text = _json(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
