"""Commands that work on code, alone, for people and for other agents."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ...coding.files.kinds import FILE_KINDS
from ..exit_codes import help_text
from ..options import json_option


@click.group(epilog=help_text())
def code() -> None:
    """Work on code and documents: the heavy part of a coding agent, alone."""


@code.command("compress")
@click.argument("query", required=False)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--tokens", type=click.IntRange(min=1), metavar="N", help="At most so many tokens.")
@click.option(
    "--keep",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.4,
    show_default=True,
    metavar="SHARE",
    help="At most this share of the tokens, where --tokens is not given.",
)
@json_option
def compress(
    query: str | None, files: tuple[Path, ...], tokens: int | None, keep: float, as_json: bool
) -> None:
    """Print the lines of FILES that QUERY needs: whole, word for word, under their numbers.

    Without FILES, the text is read from standard input. Without QUERY, a JSON object is: {"query": …,
    "reads": [{"file": …, "start": 1, "text": …}]}. No model is asked.
    """
    from ..support.code_compress import run_compress

    run_compress(query, files, tokens=tokens, keep=keep, as_json=as_json)


@code.command("apply")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--snippet",
    default="-",
    show_default=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Where the edit stands; -: standard input.",
)
@click.option("--write", is_flag=True, help="Put the merged text into FILE.")
@json_option
def apply(file: Path, *, snippet: str, write: bool, as_json: bool) -> None:
    """Merge an edit into FILE and print the difference. Without --write, nothing is written.

    The edit has marks for what stays (# ... existing code ...), or is search/replace blocks, or a unified
    diff. What does not fit, or fits at two places, is refused with exit code 1: the file stays as it is.
    """
    from ..support.code_apply import apply_to_file

    sys.exit(apply_to_file(str(file), snippet=snippet, write=write, as_json=as_json))


@code.command("search")
@click.argument("query")
@click.argument("folder", default=".")
@click.option(
    "--tokens", default=4000, show_default=True, type=click.IntRange(1), metavar="N", help="At most so many."
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(FILE_KINDS),
    default=("source",),
    show_default=True,
    help="Which files are searched. Repeatable.",
)
@click.option(
    "--index",
    metavar="DIR",
    help="Where the words of a large folder are kept for the next search; it may not lie in FOLDER. "
    "By default beside the record of runs (stepgraph.sqlite, or $STEPGRAPH_DB), else in your cache folder.",
)
@click.option("--no-index", is_flag=True, help="Keep nothing for the next search.")
@json_option
def search(
    query: str,
    folder: str,
    *,
    tokens: int,
    kinds: tuple[str, ...],
    index: str | None,
    no_index: bool,
    as_json: bool,
) -> None:
    """Print the lines of FOLDER that QUERY is about: a question, an issue, an error message.

    Files come first, then their functions, best first, as many as --tokens holds. `.gitignore` is respected,
    and nothing outside of FOLDER is read. No model is asked.
    """
    from ..support.code_search import run_search

    run_search(query, folder, tokens=tokens, kinds=kinds, index=index, keeps=not no_index, as_json=as_json)
