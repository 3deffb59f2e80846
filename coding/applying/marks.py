"""Marks in a snippet for what stays: `# ... existing code ...`, `<!-- rest unchanged -->`, `...` alone."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

# The comment marks of all usual languages, and JSX's {/* */}.
LONGEST = 1000  # characters of a line that is looked at
COMMENT = re.compile(
    r"""^(?P<open>\{\s*/\*+|/\*+|<!--|\(\*|\{-|\#+|//+|--+|;+|%+|\.\.(?=\s)|REM\b)?\s*
        (?P<said>.*?)\s*(?P<close>\*+/\s*\}?|-->|\*\)|-\})?$""",
    re.VERBOSE,
)
ELLIPSIS = re.compile(r"^(?:\.{3,}|…)|(?:\.{3,}|…)$")
WORDS = frozenset(
    """a above after all and any are as at before below body brace brevity callbacks case cases changed
    changes class classes code comments config configuration constants content contents continues
    continue data definition definitions docs docstring document elements else end entries entry etc
    everything existing exports field fields file for from function functions goes handlers helper
    helpers here identical implementation imports in is it its items keep keeps keys kept left lines
    list logic method methods middle module more no not of omitted options original other others
    parameters part parts previous properties props remain remainder remaining remains rest rows rules
    same section sections setup settings skip skipped snip snipped statements stay stays still stuff
    styles tests text that the there these this to truncated types unchanged unmodified untouched up
    values variables was were with your routes""".split()
)
CORE = frozenset(
    """existing rest unchanged remaining remains remainder remain same omitted skip skipped snip snipped
    other others previous unmodified untouched stays stay kept keep keeps more truncated original
    identical continues""".split()
)
OUTRIGHT = re.compile(
    r"""^[\[(<{]?\s*(?:(?:the\s+)?(?:existing|remaining|unchanged|other\s+existing)\s+
        (?:code|content|imports?|methods?|functions?|lines|tests|file|fields|implementation|body|entries|class)
        |(?:the\s+)?rest\s+(?:of\s+(?:the\s+)?\w+(?:\s+\w+)?)?\s*(?:\W?\s*(?:is\s+|remains\s+|stays\s+)?(?:unchanged|the\s+same|as\s+(?:before|is)))?
        |unchanged|no\s+changes?|snip|same\s+as\s+before|code\s+unchanged)
        (?:\s*(?:here|above|below|unchanged|stays|remains?|remains\s+unchanged|continues|omitted))?\s*[\])>}]?[.:]?$""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Segment:
    """Lines of a snippet between two marks. `lines` begins and ends with a line that is not blank."""

    lines: list[str]
    after_mark: bool
    before_mark: bool
    first: int  # the snippet's line, from 1
    mark_column: str = ""  # the blanks before the mark that follows


def is_mark(line: str) -> bool:
    """Tell whether a comment says that something stays here. A bare `...` is not asked about here."""
    text = line.strip()
    if not text or len(text) > 120:
        return False
    match = COMMENT.match(text)
    if match is None or not match["open"]:
        return False
    comment = match["said"].strip()
    dotted = len(ELLIPSIS.findall(comment))
    words = comment.strip(".… \t")
    if not words:
        return dotted > 0
    if not dotted:
        return OUTRIGHT.match(words) is not None
    names = re.findall(r"[A-Za-z]+", words.lower())
    if len(names) <= 10 and CORE & set(names) and WORDS.issuperset(names):
        return True
    both = len(re.findall(r"^(?:\.{3,}|…)", comment)) and len(re.findall(r"(?:\.{3,}|…)$", comment))
    return bool(both) and len(names) <= 10 and not re.search(r"[=;{}]", words)


def is_bare_mark(line: str) -> bool:
    return line.strip() in ("...", "…", "....", "[...]", "(...)", "…...", ". . .")


def sole_body(lines: list[str], at: int) -> bool:
    """Tell whether a line is all that stands in the block that the line above opens, as in a stub."""
    filled = [line for line in lines[:at] if line.strip()]
    later = next((line for line in lines[at + 1 :] if line.strip()), "")
    own = len(lines[at]) - len(lines[at].lstrip())
    heading = filled[-1].partition(" #")[0].rstrip() if filled else ""
    return heading.endswith(":") and len(later) - len(later.lstrip()) < own


def doubtful(line: str) -> bool:
    """Tell whether a line looks as if something were left out in it, though it is no mark."""
    text = line.strip()
    if len(text) > LONGEST:
        return False
    if is_mark(text) or (is_bare_mark(text) and text != "..."):
        return True
    if re.match(r'^["\'](?:\.\.\.|…)["\']\s*(?::.*)?,?$', text):
        return True
    if re.search(r"(?<![\"'])\{\s*(?:\.\.\.|…)\s*\}(?![\"'])", text):
        return True
    match = COMMENT.match(text)
    if match and match["open"] and re.match(r"\.{3}|…", match["said"]):
        return True
    tail = re.search(r"(?:\s#|\s//|/\*)\s*(\S.*)$", text)
    return tail is not None and is_mark("# " + tail[1].removesuffix("*/"))


def marks_of(lines: list[str]) -> set[str]:
    """The lines of a snippet that look like marks, stripped."""
    return {line.strip() for line in lines if is_mark(line) or is_bare_mark(line)}


def segments_of(lines: list[str], marks: Collection[str]) -> list[Segment]:
    """Split a snippet at its marks, which are given stripped."""
    segments: list[Segment] = []
    run: list[str] = []
    start, marked = 1, False

    def close(before_mark: bool, mark: str) -> None:
        first, last = 0, len(run)
        while first < last and not run[first].strip():
            first += 1
        while last > first and not run[last - 1].strip():
            last -= 1
        if first < last:
            blanks = mark[: len(mark) - len(mark.lstrip())]
            segments.append(Segment(run[first:last], marked, before_mark, start + first, blanks))

    for number, line in enumerate(lines, 1):
        if line.strip() in marks:
            close(True, line)
            run, start, marked = [], number + 1, True
        else:
            run.append(line)
    close(False, "")
    return segments
