"""`stepgraph code apply`: an edit merged into a file, shown as a diff, and written if that is asked for."""

from __future__ import annotations

import difflib
import json
import sys
from pathlib import Path
from typing import IO

import click

from ...coding.applying.applying import apply, form_of
from ...coding.applying.file_bytes import MOST_BYTES, read_bytes, write_bytes
from ...state.errors import ApplyRefused, InputError
from ..exit_codes import ExitCode


def apply_to_file(file: str, *, snippet: str, write: bool, as_json: bool) -> ExitCode:
    """Merge the snippet into the file and show the difference; with `write`, write it."""
    path = Path(file)
    if snippet == "-":
        edit = _bounded(sys.stdin.buffer)
    else:
        try:
            with Path(snippet).open("rb") as stream:
                edit = _bounded(stream)
        except OSError as error:
            raise InputError(f"The edit {snippet!r} cannot be read: {error.strerror}.") from None
    try:
        text, encoding = read_bytes(path)
        merged = apply(str(path), text, edit)
        if write:
            write_bytes(path, merged, encoding, text)
    except ApplyRefused as refused:
        if as_json:
            click.echo(json.dumps({"file": file, "refused": refused.reason, "hint": refused.hint}))
            return ExitCode.FAILED
        raise
    shown = diff_text(file, text, merged)
    if as_json:
        answer = {"file": file, "form": form_of(text, edit), "written": write, "diff": shown}
        click.echo(json.dumps(answer if write else {**answer, "merged": merged}))
        return ExitCode.DONE
    click.echo(shown, nl=False)
    click.echo(f"Written to {file}." if write else f"Not written: --write puts this into {file}.", err=True)
    return ExitCode.DONE


def _bounded(stream: IO[bytes]) -> str:
    data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise InputError(f"The edit has more than {MOST_BYTES:,} bytes.")
    return data.decode("utf-8", "replace")


def diff_text(file: str, old: str, new: str) -> str:
    """A unified diff as `git apply` takes it. What cannot be shown is shown as escapes."""
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{file}", f"b/{file}"
    )
    out = "".join(
        line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines
    )
    return out.encode("utf-8", "backslashreplace").decode("utf-8")
