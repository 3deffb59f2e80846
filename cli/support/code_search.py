"""The work of `stepgraph code search`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import click

from ...coding.files.walking import folder_of
from ...coding.searching.code_index import CodeIndex
from ...coding.searching.search import search
from ...state.database import DEFAULT, VARIABLE, is_postgres

MOST_FILES = 50


def usual_place(root: Path) -> Path | None:
    """Return where the index of a large folder is kept: beside the record, or else in the user's cache.

    Nothing is written into the searched folder: None where there is no other place."""
    record = os.environ.get(VARIABLE) or str(DEFAULT)
    places = []
    if not is_postgres(record) and Path(record).is_file():
        places.append(Path(f"{Path(record).resolve()}.code-index"))
    with suppress(RuntimeError):  # a user without a home
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        places.append(Path(cache, "stepgraph", "code-index").resolve())
    return next((place for place in places if not place.is_relative_to(root)), None)


def run_search(
    query: str,
    folder: str,
    *,
    tokens: int,
    kinds: Sequence[str],
    index: str | None,
    keeps: bool = True,
    as_json: bool,
) -> None:
    """Print the lines of a folder that a question is about."""
    place = (index or usual_place(folder_of(folder))) if keeps else None
    result = search(query, folder, tokens=tokens, kinds=kinds, index=CodeIndex(folder, place))
    if as_json:
        ranges = [asdict(one) for one in result.ranges]
        click.echo(
            json.dumps({"ranges": ranges, "files": result.files[:MOST_FILES], "tokens": result.tokens})
        )
        return
    reasons = {str(one): one for one in result.ranges}
    number = 0
    for line in result.text.split("\n"):
        if head := reasons.pop(line, None):
            click.secho(f"{head}  {head.reason}", bold=True)
            number = head.start
        else:
            click.echo(f"{number:>6} {line.rstrip()}")
            number += 1
    if not result.ranges:
        click.echo("Nothing in this folder fits the question; ask with other words, or see --kind.")
