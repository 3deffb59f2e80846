"""Prints what a thread streams, here or at workers: the words of its steps, and which node begins again."""

from __future__ import annotations

import json
from typing import Any

import click

from ...runners.run import RunOptions
from ...runners.streams.parts import Part
from ...state.names import path_of
from ...state.session.internals import Tap
from ...tracing.record.text import clean, one_line


class Printer:
    """Prints parts, the words of each step behind its path; as JSON, a line for each part."""

    def __init__(self, thread: str, *, as_json: bool) -> None:
        self._thread = thread
        self._as_json = as_json
        self._path: str | None = None

    def __call__(self, part: Part) -> None:
        event = self._event(part)
        if event is None:
            return
        if self._as_json:
            click.echo(json.dumps({"thread": self._thread, **event}))
        elif event["type"] == "words":
            self._print_words(event["path"], event["text"])
        else:
            self.end()
            click.echo(f"    {one_line(event['line'])}")

    def options(self, options: RunOptions) -> RunOptions:
        """Return a run's options with which it tells this printer, in this process, what its steps say."""
        tap = Tap(lambda chunk: self({"ns": chunk[0], "type": chunk[1], "data": chunk[2]}), ())
        tap.open()
        extra = {**options.get("extra", {}), **tap.configurable}
        return RunOptions(**{**options, "extra": extra, "callbacks": [tap.handler]})

    def end(self) -> None:
        """End the line of the words."""
        if self._path is not None and not self._as_json:
            click.echo()
        self._path = None

    def _print_words(self, path: str, text: str) -> None:
        if path != self._path:
            self.end()
            click.echo(f"    {one_line(path)}: ", nl=False)
            self._path = path
        click.echo(clean(text), nl=False)

    def _event(self, part: Part) -> dict[str, Any] | None:
        """Return what there is to tell of a part, None for nothing."""
        if part["type"] == "messages":
            chunk, metadata = part["data"]
            path = path_of(str(metadata.get("langgraph_checkpoint_ns", "")))
            problem = chunk.response_metadata.get("stepgraph", {}).get("broken")
            if problem:
                return {"type": "void", "path": path, "line": f"{path}: void, because {problem}"}
            return {"type": "words", "path": path, "text": chunk.text} if chunk.text else None
        data = part["data"]
        if part["type"] == "nodes" and data["event"] in ("begins again", "fails"):
            return {"type": "node", "line": f"{data['path']} {data['event']}", **data}
        if part["type"] == "nodes" and self._as_json:
            return {"type": "node", **data}
        if part["type"] == "status" and self._as_json:
            return {"type": "status", **data}
        return None
