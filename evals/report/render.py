"""Sections as text for a terminal, as Markdown for a pull request, and as one HTML page.

Values come from models and from anybody's cases: nothing of them acts, whatever they say.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from .sections import Section, Table

MAX_CELL = 300
MARK = "\N{REPLACEMENT CHARACTER}"
MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$])")
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
  color: #1d2330; background: #fff }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #dde1e8; text-align: left; vertical-align: top }
.numbers td + td, .numbers th + th { text-align: right }
.passed, .better { color: #17693a } .failed, .worse { color: #b3261e; font-weight: 600 }
.undecided, .partial, .skipped { color: #7a5b00 } td { overflow-wrap: anywhere }
@media (prefers-color-scheme: dark) { body { background: #14171d; color: #dfe3ea }
  th, td { border-color: #333a46 } .passed, .better { color: #6fd39a } .failed, .worse { color: #ff8a80 }
  .undecided, .partial, .skipped { color: #e3c15c } }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def plain(text: str, limit: int = MAX_CELL) -> str:
    """Return a text on one line, without control characters, cut to a length."""
    text = "".join(c if c.isprintable() else MARK for c in " ".join(text.split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def as_text(sections: Sequence[Section]) -> str:
    """Return sections for a terminal."""
    lines: list[str] = []
    for section in sections:
        lines += ["", plain(section.title)] if lines else [plain(section.title)]
        lines += [f"  {plain(line, 1000)}" for line in section.lines]
        if section.table is not None:
            lines += [f"  {line}" for line in _columns(section.table)]
    return "\n".join(lines)


def _columns(table: Table) -> list[str]:
    rows = [tuple(plain(cell, 100) for cell in row) for row in (table.head, *table.rows)]
    last = len(table.head) - 1
    widths = [max(len(row[column]) for row in rows) for column in range(last + 1)]

    def line(row: tuple[str, ...]) -> str:
        cells = [
            cell.rjust(width) if table.numbers and column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return [line(row) for row in rows]


def as_markdown(sections: Sequence[Section]) -> str:
    """Return sections as a comment on a pull request."""
    lines: list[str] = []
    for number, section in enumerate(sections):
        lines += [f"{'##' if number == 0 else '###'} {_markdown(section.title)}", ""]
        lines += [f"- {_markdown(line)}" for line in section.lines]
        if section.table is not None:
            table = section.table
            side = "---:" if table.numbers else "---"
            lines += [""] if section.lines else []
            lines.append(f"| {' | '.join(map(_markdown, table.head))} |")
            lines.append(f"| {' | '.join(['---', *[side] * (len(table.head) - 1)])} |")
            lines += [f"| {' | '.join(map(_markdown, row))} |" for row in table.rows]
        lines.append("")
    return "\n".join(lines)


def _markdown(text: str) -> str:
    """Return text that Markdown shows as it is: no markup, no HTML, no mention of anybody, no link."""
    escaped = MARKDOWN.sub(r"\\\1", plain(text))
    escaped = escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"@|://|\bwww\.", lambda match: f"{match[0]}\N{ZERO WIDTH SPACE}", escaped)


def as_html(sections: Sequence[Section]) -> str:
    """Return sections as one page that loads nothing and runs nothing."""
    title = html.escape(plain(sections[0].title))
    body = []
    for number, section in enumerate(sections):
        level = "h1" if number == 0 else "h2"
        body.append(f"<section><{level}>{html.escape(plain(section.title))}</{level}>")
        body += [f"<p>{html.escape(plain(line, 1000))}</p>" for line in section.lines]
        if section.table is not None:
            body.append(_table(section.table))
        body.append("</section>")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title>\n'
        f"<style>{STYLE}</style></head>\n<body>\n{chr(10).join(body)}\n</body></html>\n"
    )


STATES = frozenset({"passed", "failed", "skipped", "better", "worse", "undecided", "partial"})


def _table(table: Table) -> str:
    def cell(text: str, tag: str = "td") -> str:
        kind = f' class="{text}"' if text in STATES else ""
        return f"<{tag}{kind}>{html.escape(plain(text, 2000))}</{tag}>"

    head = "".join(cell(text, "th") for text in table.head)
    rows = "\n".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in table.rows)
    kind = ' class="numbers"' if table.numbers else ""
    inner = f"<thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody>"
    return f'<div class="scroll"><table{kind}>{inner}</table></div>'
