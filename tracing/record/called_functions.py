"""The names of the functions that a text of SQL may call, as Postgres would read it."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""
      (?P<gap>     \s+ | --[^\n]* )
    | (?P<comment> /\* )
    | (?P<text>    [eE]'(?:[^'\\]|\\.|'')*' | (?:[uU]&|[bBxXnN])?'(?:[^']|'')*' )
    | (?P<dollar>  \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$ )
    | (?P<escaped> [uU]&" )
    | (?P<quoted>  "(?:[^"]|"")*" )
    | (?P<name>    [^\W\d][\w$]* )
    | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def called_functions(sql: str) -> set[str]:
    """Return every name that stands before a parenthesis: functions, and some keywords.

    Raises ValueError for a name that is written in escapes, and for a text that does not end.
    """
    called: set[str] = set()
    name, at = None, 0
    while at < len(sql):
        token = _TOKEN.match(sql, at)
        if token is None:  # never: the last alternative is any character
            break
        at = token.end()
        if token["gap"]:
            continue
        if token["comment"]:
            at = _end_of_comment(sql, at)
            continue
        if token["escaped"]:
            raise ValueError('a name in escapes, U&"…"')
        if token["other"] in ("'", '"'):
            raise ValueError("a text that does not end")
        if token["other"] == "(" and name is not None:
            called.add(name)
        # Postgres makes a bare name's letters small.
        name = token["name"] and token["name"].lower()
        if token["quoted"]:
            name = token["quoted"][1:-1].replace('""', '"')
    return called


def _end_of_comment(sql: str, at: int) -> int:
    """Return where a comment ends that began before `at`; comments of Postgres are nested."""
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(sql, at)
        if edge is None:
            raise ValueError("a comment that does not end")
        depth += 1 if edge[0] == "/*" else -1
        at = edge.end()
    return at
