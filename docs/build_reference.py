"""Writes docs/reference/ from the signatures and docstrings of the public faces: `make docs`."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_overloads

from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[1]
FACES = {
    "stepgraph": "the names that a workflow needs",
    "stepgraph.coding": "search, compression and edits of code, without a model",
    "stepgraph.errors": "every error that stepgraph raises on purpose",
    "stepgraph.evals": "suites, evaluators, reports, comparisons, blame and sweeps",
    "stepgraph.testing": "a scripted model, recorded traffic, and a check of an endpoint",
    "stepgraph.tracing": "a run's record: read back, compared, forked, scored and sent",
}
UNITS = {"_s": "seconds", "_usd": "US dollars", "_mb": "MiB", "_kb": "KiB", "_per_minute": "per minute"}
LONGEST = 100
ERRORS: list[str] = import_module("stepgraph.errors").__all__
SEE_PROTOCOL = {
    "complete": "See [`Model`](stepgraph.md#model).",
    "score": "See [`Evaluator`](evals.md#evaluator).",
}


def file_of(face: str) -> str:
    return f"{face.rpartition('.')[2]}.md"


def first_sentence(value: Any) -> str:
    text = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", text)[0].rstrip(":")


def annotation_of(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def default_of(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return ""
    shown = repr(parameter.default)
    return "…" if shown.startswith("<") or " at 0x" in shown else shown


def parameters_of(function: Any) -> list[inspect.Parameter]:
    parameters = inspect.signature(function).parameters.values()
    return [parameter for parameter in parameters if parameter.name not in ("self", "cls")]


def signature_of(name: str, function: Any) -> str:
    """Return a call as one reads it, without types, which stand in the table below it."""
    parts: list[str] = []
    for parameter in parameters_of(function):
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        star = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
        default = default_of(parameter)
        parts.append(f"{star}{parameter.name}" + (f"={default}" if default else ""))
    returned = annotation_of(inspect.signature(function).return_annotation)
    end = f") -> {returned}" if returned and not inspect.isclass(function) else ")"
    line = f"    {name}({', '.join(parts)}{end}"
    if len(line) <= LONGEST:
        return line
    return "\n".join([f"    {name}(", *(f"        {part}," for part in parts), f"    {end}"])


def table_of(function: Any) -> Iterator[str]:
    parameters = parameters_of(function)
    if not parameters:
        return
    yield "| parameter | type | default |"
    yield "|---|---|---|"
    as_written = inspect.get_annotations(function)  # pydantic's signatures have resolved ones
    for parameter in parameters:
        name, annotation = parameter.name, parameter.annotation
        if options := options_in(function, as_written.get(name, annotation)):
            yield from (f"| {code(key)} | {code(annotation_of(kind))} | |" for key, kind in options.items())
            continue
        unit = next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "")
        kind = ", ".join(filter(None, (code(annotation_of(as_written.get(name, annotation))), unit)))
        yield f"| {code(name)} | {kind} | {code(default_of(parameter))} |"
    yield ""


def options_in(function: Any, annotation: Any) -> dict[str, Any]:
    """Return the keywords, and their types as written, that `**options: Unpack[SomeTypedDict]` stands for."""
    named = re.fullmatch(r"Unpack\[(\w+)\]", str(annotation))
    options = vars(sys.modules[function.__module__]).get(named[1]) if named else None
    return {key: kind.__forward_arg__ for key, kind in options.__annotations__.items()} if options else {}


def code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|") if text else ""


def errors_of(value: Any) -> list[str]:
    """Return the errors that a function, or the making of a class, raises itself and does not name."""
    made_by = "__post_init__" if is_dataclass(value) else "__init__"
    function = vars(value).get(made_by) if inspect.isclass(value) else inspect.unwrap(value)
    if function is None:
        return []
    nodes = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function))))
    raised = {
        ast.unparse(node.exc).partition("(")[0] for node in nodes if isinstance(node, ast.Raise) and node.exc
    }
    return sorted(raised & set(ERRORS) - set(re.findall(r"\w+", inspect.getdoc(value) or "")))


def called(name: str, value: Any) -> Iterator[str]:
    """Yield how a function or class is called: each overload, then one table."""
    overloads = [] if inspect.isclass(value) else get_overloads(value)
    for function in overloads or [value]:
        yield signature_of(name, function)
    yield from ("", inspect.getdoc(value) or SEE_PROTOCOL.get(name, ""), "")
    if errors := errors_of(value):
        yield from (f"Raises {', '.join(map(code, errors))}.", "")
    yield from table_of(value)


def is_called(cls: type) -> bool:
    """Tell whether a user makes one: its parameters are worth a table."""
    own_init = "__init__" in vars(cls) and not getattr(cls, "_is_protocol", False)
    return is_dataclass(cls) or issubclass(cls, BaseModel) or own_init


def class_entry(name: str, cls: type) -> Iterator[str]:
    bases = [code(base.__name__) for base in cls.__bases__ if base.__module__.startswith("stepgraph")]
    if bases:
        yield from (f"A kind of {', '.join(bases)}.", "")
    yield from called(name, cls) if is_called(cls) else (inspect.getdoc(cls) or "", "")
    for member_name, member in vars(cls).items():
        if member_name.startswith("_"):
            continue
        if isinstance(member, property):
            meaning = inspect.getdoc(member) or ""
            yield from (f"**`{name}.{member_name}`** (property) {meaning}".rstrip(), "")
        elif inspect.isfunction(member) or isinstance(member, classmethod):
            yield from (f"**`{name}.{member_name}`**", "")
            yield from called(member_name, getattr(member, "__func__", member))


def slugs(names: list[str]) -> dict[str, str]:
    """Return the anchors that GitHub gives to headings; the second equal one ends with -1."""
    seen: dict[str, int] = {}
    anchors = {}
    for name in names:
        slug = name.lower()
        anchors[name] = f"{slug}-{seen[slug]}" if slug in seen else slug
        seen[slug] = seen.get(slug, 0) + 1
    return anchors


def page(face: str, documented: dict[Any, str]) -> str:
    """Return the page of a face; what an earlier page documents is linked."""
    names: list[str] = import_module(face).__all__
    values = {name: getattr(import_module(face), name) for name in names}
    anchors = slugs(names)
    about = f"Here you can look up {FACES[face]}. `make docs` writes this page from the code."
    lines = [f"# {face}", "", about, ""]
    lines += [f"- [`{name}`](#{anchors[name]}): {first_sentence(values[name])}" for name in names]
    for name, value in values.items():
        lines += ["", f"## {name}", ""]
        if value in documented:
            lines.append(f"See [`{name}`]({documented[value]}).")
            continue
        documented[value] = f"{file_of(face)}#{anchors[name]}"
        source = Path(inspect.getsourcefile(inspect.unwrap(value)) or "").resolve()
        lines += class_entry(name, value) if inspect.isclass(value) else called(name, value)
        lines.append(f"In `{source.relative_to(ROOT).as_posix()}`.")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def pages() -> dict[str, str]:
    """Return each page's text by its file name."""
    documented: dict[Any, str] = {}
    return {file_of(face): page(face, documented) for face in FACES}


if __name__ == "__main__":
    for name, text in pages().items():
        (ROOT / "docs/reference" / name).write_text(text, encoding="utf-8")
