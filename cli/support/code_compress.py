"""The command that compresses files, or what it reads from standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ...coding.compressing.compressor import compress
from ...coding.ranges import Read
from ...state.errors import InputError

STDIN = "stdin"
FORM = 'a JSON object {"query": "…", "reads": [{"file": "a.py", "start": 1, "text": "…"}]}'


def run_compress(
    query: str | None, files: Sequence[Path], *, tokens: int | None, keep: float, as_json: bool
) -> None:
    """Print what is kept of the files, of a text on standard input, or of the reads in an object there."""
    if query is None:
        query, reads = _object(_standard_input())
        as_json = True
    elif files:
        reads = [Read(str(file), 1, _text(file)) for file in files]
    else:
        reads = [Read(STDIN, 1, _standard_input())]
    result = compress(query, reads, keep=keep, tokens=tokens)
    if as_json:
        ranges = [asdict(range_) for range_ in result.ranges]
        click.echo(json.dumps({"ranges": ranges, "text": result.text, "removed": round(result.removed, 4)}))
    else:
        click.echo(result.text)


def _text(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="replace", newline="") as opened:
            return opened.read()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}. Name another file.") from error


def _standard_input() -> str:
    return sys.stdin.buffer.read().decode("utf-8", "replace")


def _object(text: str) -> tuple[str, list[Read]]:
    try:
        request = json.loads(text)
        return _field(request, "query", str), [_read(read) for read in _field(request, "reads", list)]
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"Standard input: {error}. Expected {FORM}, or a QUERY on the command line."
        ) from None


def _read(fields: Any) -> Read:
    return Read(_field(fields, "file", str), _field(fields, "start", int), _field(fields, "text", str))


def _field(fields: Any, name: str, form: type) -> Any:
    value = fields.get(name) if isinstance(fields, dict) else None
    if not isinstance(value, form) or isinstance(value, bool):
        raise ValueError(f"{name!r} is missing, or not what it should be")  # noqa: TRY004 - told as bad JSON is
    return value
