"""Python's own parser, for texts that somebody else wrote and for several threads at once."""

from __future__ import annotations

import ast
import threading
import warnings
from typing import Final

__all__ = ["parse_python"]

_ONE_AT_A_TIME: Final = threading.Lock()
_ATTEMPTS: Final = 20


def parse_python(text: str) -> ast.Module:
    """Return the tree of a module; what its text would warn of is not told.

    CPython 3.11 and 3.12 count the depth of a tree that they make in one place for all threads. So a
    thread that parses meanwhile makes them raise SystemError for a good text (python/cpython, issue 106905).
    Here one thread parses at a time, and where other code parses meanwhile, the text is parsed again.

    Raises SyntaxError or ValueError for what is no Python, RecursionError or MemoryError for what is nested
    too deeply.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return _parse(text)
        except SystemError:
            continue
    return _parse(text)


def _parse(text: str) -> ast.Module:
    with _ONE_AT_A_TIME, warnings.catch_warnings():  # which is not for several threads either
        warnings.simplefilter("ignore")
        return ast.parse(text)
