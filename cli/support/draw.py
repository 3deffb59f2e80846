"""`stepgraph graph`: a graph as Mermaid, text, SVG or PNG; nothing leaves this machine."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import click
from langchain_core.runnables.graph import Graph

from ...graphs.drawing import to_dot, to_mermaid, to_text
from ...runners.loading import load_graph
from ...state.errors import InputError
from ...state.private_files import open_private

BINARY = ("svg", "png")
INSTALL_HELP = (
    "SVG and PNG need Graphviz: pip install 'stepgraph[draw]', or your system's package graphviz. "
    "The formats mermaid and text need nothing."
)


def draw_graph(reference: str, form: str | None, output: Path | None, *, flat: bool) -> None:
    """Draw a graph to a file or to standard output."""
    form = form or _form_of(output)
    if form in BINARY and output is None:
        raise InputError(f"Name the file for the drawing: --output graph.{form}.")
    drawing = draw(load_graph(reference).graph.get_graph(xray=not flat), form)
    if output is None:
        click.echo(drawing.decode())
        return
    try:
        with open_private(output, "wb") as file:
            file.write(drawing)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror}.") from None
    click.echo(f"Wrote {output}.")


def _form_of(output: Path | None) -> str:
    if output is None:
        return "mermaid"
    forms = {".svg": "svg", ".png": "png", ".txt": "text", ".mmd": "mermaid", ".md": "mermaid"}
    if output.suffix not in forms:
        raise InputError(f"{output}: say which --format, or end the name in {', '.join(forms)}.")
    return forms[output.suffix]


def draw(graph: Graph, form: str) -> bytes:
    """Return the drawing. Raises InputError where SVG or PNG need a program that is not there."""
    if form == "mermaid":
        return to_mermaid(graph).encode()
    if form == "text":
        return "\n".join(to_text(graph)).encode()
    return render(to_dot(graph), form)


def render(dot: str, form: str) -> bytes:
    """Return SVG or PNG, made by Graphviz on this machine."""
    scripts = sysconfig.get_path("scripts")
    program = (
        shutil.which("dot") or shutil.which("graphviz-pure", path=scripts) or shutil.which("graphviz-pure")
    )
    if program is None:
        raise InputError(INSTALL_HELP)
    done = subprocess.run(
        [program, f"-T{form}"], input=dot.encode(), capture_output=True, timeout=60, check=False
    )
    if done.returncode:
        raise InputError(f"Graphviz cannot draw this graph: {done.stderr.decode(errors='replace')[:300]}")
    return done.stdout
