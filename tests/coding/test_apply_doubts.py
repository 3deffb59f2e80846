"""What a reader of a snippet could understand in two ways is refused; blank lines stay as they are."""

from __future__ import annotations

import pytest

from stepgraph.coding import apply
from stepgraph.errors import ApplyRefused

STYLES = """\
#bar {
    padding: 1em;
}
#bar .logo {
    float: left;
}
#bar .title {
    color: #ddd;
    float: left;
    margin: 5px;
}
#bar:after {
    clear: both;
}
"""
TWICE = """\
def one(left, right):
    # compare the lines
    out = [
        join(
            strip(line)
            for line in differ(left, right)
        )
    ]
    return out


def other(left, right):
    # compare the lines
    out = [
        join(
            strip(line, "x")
            for line in differ(right, left)
        ).lower()
    ]
    return out
"""


def refused(path: str, text: str, snippet: str) -> bool:
    try:
        apply(path, text, snippet)
    except ApplyRefused:
        return True
    return False


@pytest.mark.parametrize("context", ["#bar .logo {\n", ""])
def test_one_of_two_blocks_goes_only_if_the_lines_above_tell_which(context: str) -> None:
    snippet = f"/* ... */\n{context}    float: left;\n}}\n#bar:after {{\n    clear: both;\n/* ... */\n"
    if not context:
        assert refused("a.css", STYLES, snippet)
    else:
        assert ".title" not in apply("a.css", STYLES, snippet)


def test_what_fits_better_outside_of_the_named_definition_is_refused() -> None:
    snippet = """\
# ... existing code ...
def one(left, right):
    # ... existing code ...
    # compare the lines
    out = [
        join(
            strip(line, "y")
            for line in differ(right, left)
        ).lower()
    ]
    return out
# ... existing code ...
"""
    assert refused("a.py", TWICE, snippet) or 'strip(line, "x")' in apply("a.py", TWICE, snippet)


STUB = """\
import typing

if TYPE_CHECKING:

    def first(t):  # noqa: ARG001
        ...

    def second(t):  # noqa: ARG001
        ...

    def third(t):  # noqa: ARG001
        ...
"""


def test_an_ellipsis_that_may_be_a_body_or_a_mark_is_refused() -> None:
    snippet = STUB.replace("    def second(t):  # noqa: ARG001\n", "").replace(
        "typing\n", "typing\nvalue = 1\n"
    )
    assert refused("a.py", STUB, snippet)


def test_a_slip_beside_missing_blank_lines_is_no_edit() -> None:
    text = "def cut(at):\n    text, style = at\n\n    size = len(text)\n    if at >= size:\n        end()\n"
    snippet = "    # ...\n    text, style = at\n    size = len(text)\n    if at >= size_:\n        # ...\n"
    assert refused("a.py", text, snippet)
    given = snippet.replace("= at\n    size", "= at\n\n    size")
    assert refused("a.py", text, given) or "size_:" in apply("a.py", text, given)


@pytest.mark.parametrize("blank", ["", "    ", "\t"])
@pytest.mark.parametrize("before", [True, False])
def test_a_blank_line_beside_new_lines_keeps_its_own_blanks(blank: str, before: bool) -> None:
    """Whether the new lines come before it or after it: the snippet shows where its blanks are."""
    text = f"The level is given:\n{blank}\n    set_level('Q');\n    run();\nThe end.\n"
    new = ["", "and this:", ""]
    middle = [*new[:2], blank] if before else [blank, *new[1:]]
    lines = ["The level is given:", *middle, "    set_level('Q');"]
    right = "\n".join([*lines, "    run();", "The end.", ""])
    assert apply("a.md", text, "\n".join([*lines, "..."])) == right
