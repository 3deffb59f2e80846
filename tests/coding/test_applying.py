"""Snippets with marks, merged into files: one place, or refused."""

from __future__ import annotations

import pytest

from stepgraph.coding import apply, form_of
from stepgraph.errors import ApplyRefused

SHOP = """\
import os


class Cart:
    def __init__(self):
        self.items = []

    def total(self):
        amount = 0
        for item in self.items:
            amount += item.price
        return amount

    def clear(self):
        self.items = []
        return self


class Order:
    def __init__(self):
        self.lines = []

    def total(self):
        amount = 0
        for line in self.lines:
            amount += line.price
        return amount

    def close(self):
        self.open = False
"""


def refusal(path: str, text: str, snippet: str) -> ApplyRefused:
    with pytest.raises(ApplyRefused) as caught:
        apply(path, text, snippet)
    return caught.value


@pytest.mark.parametrize(
    "mark",
    [
        "# ... existing code ...",
        "# ...",
        "# … rest unchanged …",
        "# rest of the code",
        "# (unchanged)",
        "# ... (rest of the class remains the same)",
        "#... existing code",
        "# [existing code]",
        "# ... keep the methods above ...",
    ],
)
def test_every_form_of_a_mark_stands_for_what_stays(mark: str) -> None:
    snippet = f"{mark}\n        for item in self.items:\n            amount += item.price * item.count\n"
    snippet += f"        return amount\n\n    def clear(self):\n    {mark}\n"
    assert apply("shop.py", SHOP, snippet) == SHOP.replace("item.price", "item.price * item.count")


@pytest.mark.parametrize(
    ("path", "text", "mark"),
    [
        ("a.js", "let a = 1;\nlet b = 2;\nlet c = 3;\nlet d = 4;\n", "// ... existing code ..."),
        (
            "a.css",
            "a { color: red }\nb { color: red }\nc { top: 0 }\nd { top: 1 }\n",
            "/* ... existing rules ... */",
        ),
        ("a.md", "# One\n\nfirst\n\n# Two\n\nsecond\n", "<!-- ... existing content ... -->"),
        ("a.sql", "SELECT 1;\nSELECT 2;\nSELECT 3;\nSELECT 4;\n", "-- ... existing code ..."),
        ("a.ini", "[one]\na = 1\n[two]\nb = 2\nc = 3\n", "; ... existing code ..."),
        ("a.yaml", "one:\n  a: 1\ntwo:\n  b: 2\n  c: 3\n", "# ..."),
        ("a.tex", "one\ntwo\nthree\nfour\n", "% ... existing code ..."),
        ("a.html", "<a>1</a>\n<b>2</b>\n<c>3</c>\n<d>4</d>\n", "<!-- rest of the file unchanged -->"),
        (
            "a.tsx",
            "const a = 1;\nconst b = 2;\nconst c = 3;\nconst d = 4;\n",
            "{/* ... existing code ... */}",
        ),
        ("a.rst", "One\n\ntwo\n\nthree\n\nfour\n", ".. ... existing code ..."),
        ("a.txt", "one\ntwo\nthree\nfour\n", "..."),
    ],
)
def test_marks_of_all_languages(path: str, text: str, mark: str) -> None:
    lines = text.splitlines()
    filled = [line for line in lines if line]
    at = lines.index(filled[1])
    snippet = "\n".join([filled[0], "", "new 'line'", filled[1], mark])
    expected = "\n".join([filled[0], "", "new 'line'", *lines[at:]]) + "\n"
    if path.endswith((".js", ".css", ".sql", ".ini", ".yaml", ".tex", ".html", ".tsx", ".txt")):
        snippet, expected = snippet.replace("\n\n", "\n"), expected.replace("\n\n", "\n")
    if path.endswith((".js", ".tsx")):
        snippet, expected = (some.replace("new 'line'", "let n = 0;") for some in (snippet, expected))
    if path.endswith(".yaml"):
        snippet, expected = (some.replace("new 'line'", "  new: 0") for some in (snippet, expected))
    if path.endswith(".css"):
        snippet, expected = (some.replace("new 'line'", "n { top: 2 }") for some in (snippet, expected))
    assert apply(path, text, snippet) == expected


def test_two_places_that_fit_equally_are_refused_with_their_lines() -> None:
    refused = refusal(
        "shop.py",
        SHOP,
        "# ...\n    def total(self):\n        amount = 0\n        log()\n        for\n# ...\n",
    )
    assert refused.hint
    twice = refusal(
        "shop.py", SHOP, "# ...\n    def __init__(self):\n        log()\n\n    def total(self):\n# ...\n"
    )
    assert "5 and 20" in twice.reason


def test_the_class_named_above_tells_which_of_two_is_meant() -> None:
    snippet = (
        "# ...\nclass Order:\n    # ...\n    def total(self):\n        amount = 0\n        log()\n"
        "        for line in self.lines:\n    # ...\n"
    )
    assert apply("shop.py", SHOP, snippet) == SHOP.replace(
        "        for line in", "        log()\n        for line in"
    )


def test_a_snippet_may_be_indented_less_or_more_than_the_file() -> None:
    snippet = "# ...\namount = 0\nlog()\nfor line in self.lines:\n# ...\n"
    expected = SHOP.replace("        for line in", "        log()\n        for line in")
    assert apply("shop.py", SHOP, snippet) == expected
    shifted = "".join("            " + line for line in snippet.splitlines(keepends=True))
    assert apply("shop.py", SHOP, shifted) == expected


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("end", [True, False])
def test_line_ends_byte_order_mark_and_end_of_file_stay(newline: str, bom: str, end: bool) -> None:
    text = bom + newline.join(["a = 1", "b = 2", "c = 3", "d = 4"]) + newline * end
    assert apply("x.py", text, "b = 2\nn = 0\nc = 3\n") == text.replace("c =", "n = 0" + newline + "c =")
    assert apply("x.py", text, "# ...\nc = 3\nn = 0\nd = 4\n") == text.replace(
        "d =", "n = 0" + newline + "d ="
    )


def test_mixed_line_ends_stay_line_by_line() -> None:
    text = "a = 1\r\nb = 2\nc = 3\r\nd = 4\n"
    assert apply("x.py", text, "b = 2\nn = 0\nc = 3\n") == "a = 1\r\nb = 2\nn = 0\nc = 3\r\nd = 4\n"


def test_tabs_are_written_where_the_file_has_them() -> None:
    text = SHOP.replace("    ", "\t")
    snippet = "# ...\n        for item in self.items:\n            if item:\n                log()\n"
    snippet += "            amount += item.price\n# ...\n"
    expected = text.replace("\t\t\tamount += item.p", "\t\t\tif item:\n\t\t\t\tlog()\n\t\t\tamount += item.p")
    assert apply("shop.py", text, snippet) == expected


def test_one_misremembered_name_does_not_move_the_edit() -> None:
    snippet = (
        "# ...\n    def clear(self):\n        self.item = []\n        log()\n        return self\n# ...\n"
    )
    merged = apply("shop.py", SHOP, snippet)
    assert merged == SHOP.replace(
        "= []\n        return self", "= []\n        log()\n        return self"
    ).replace("        self.items = []\n        log", "        self.item = []\n        log")


def test_what_stands_between_two_unchanged_lines_and_is_not_given_goes() -> None:
    snippet = "# ...\n        return amount\n\n\nclass Order:\n# ...\n"
    gone = "    def clear(self):\n        self.items = []\n        return self\n\n"
    assert apply("shop.py", SHOP, snippet) == SHOP.replace("\n" + gone, "\n")


def test_a_whole_definition_takes_the_place_of_the_old_one() -> None:
    snippet = (
        "# ...\n    def clear(self, all=False):\n        self.items.clear()\n        return None\n\n# ...\n"
    )
    assert "def clear(self, all=False):\n        self.items.clear()\n        return None\n\n\nclass" in apply(
        "shop.py", SHOP, snippet
    )


def test_new_code_at_the_end_is_added_if_it_is_whole() -> None:
    snippet = (
        "# ...\n    def close(self):\n        self.open = False\n\n    def open(self):\n        return 1\n"
    )
    assert apply("shop.py", SHOP, snippet) == SHOP + "\n    def open(self):\n        return 1\n"
    cut = "# ...\n    def clear(self):\n        self.items = []\n        send(\n"
    assert refusal("shop.py", SHOP, cut)


def test_what_is_there_already_is_told() -> None:
    assert refusal("shop.py", SHOP, SHOP).reason.startswith("already applied")
    assert refusal("shop.py", SHOP, "# ...\nclass Order:\n# ...\n").reason.startswith("already applied")


@pytest.mark.parametrize(
    "snippet",
    [
        "# ...\n    def fly(self):\n        self.up()\n        self.wings = 2\n        return 1\n# ...\n",
        "# ...\n    def close(self):\n        new()\n    def clear(self):\n# ...\n",  # the other order
        "# ...\n        amount = 0\n        for item in self.items:\n            if (\n",  # cut off
        "# ...\n    def clear(self):\n        self.items = [\n        return self\n\n\nclass Order:\n# ...\n",
        "# ...\n    def clear(self):  # ... existing code ...\n        self.items = []\n        return 0\n",
        "",
        "# ... existing code ...\n",
    ],
)
def test_what_fits_nowhere_or_breaks_the_file_is_refused(snippet: str) -> None:
    assert refusal("shop.py", SHOP, snippet).reason


def test_an_ellipsis_that_is_code_stays_code() -> None:
    text = "class A:\n    def one(self): ...\n\n    def two(self):\n        ...\n\n    def three(self): ...\n"
    snippet = "    def two(self):\n        ...\n\n    def new(self): ...\n\n    def three(self): ...\n"
    assert apply("a.pyi", text, snippet) == text.replace(
        "    def three", "    def new(self): ...\n\n    def three"
    )


def test_the_form_is_told() -> None:
    assert form_of(SHOP, "# ...\nx\n") == "marked"
    assert form_of(SHOP, "<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n") == "blocks"
    assert form_of(SHOP, "@@ -1 +1 @@\n-a\n+b\n") == "diff"
    assert form_of("", "x = 1\n") == "whole"
    assert apply("a.py", "", "x = 1\n") == "x = 1\n"


def test_a_code_fence_round_the_snippet_is_not_part_of_it() -> None:
    snippet = "```python\n# ...\n    def close(self):\n        log()\n        self.open = False\n```\n"
    assert apply("shop.py", SHOP, snippet) == SHOP.replace(
        "        self.open", "        log()\n        self.open"
    )


def test_a_misremembered_line_that_would_break_the_file_stays_as_the_file_has_it() -> None:
    text = "try:\n    a = 1\n    b = 2\nexcept ValueError:\n    c = 3\n    d = 4\n"
    snippet = "# ...\n    a = 1\n    n = 0\n    b = 2\nexcept_ ValueError:\n    c = 3\n# ...\n"
    assert apply("a.py", text, snippet) == text.replace("    b", "    n = 0\n    b")


def test_a_bare_ellipsis_beside_other_statements_is_a_mark() -> None:
    snippet = (
        "class Order:\n    ...\n    def close(self):\n        self.open = 0\n        return 5\n    ...\n"
    )
    changed = "self.open = 0\n        return 5"
    assert apply("shop.py", SHOP, snippet) == SHOP.replace("self.open = False", changed)


def test_what_is_left_out_right_below_a_heading_is_not_deleted() -> None:
    snippet = "# ...\nclass Order:\n    def close(self):\n        log()\n        self.open = False\n"
    assert "heading" in refusal("shop.py", SHOP, snippet).reason
    marked = snippet.replace("Order:\n", "Order:\n    # ...\n")
    expected = SHOP.replace("        self.open", "        log()\n        self.open")
    assert apply("shop.py", SHOP, marked) == expected


def test_words_round_a_code_fence_are_no_part_of_the_snippet() -> None:
    snippet = "Here is the change:\n\n```python\n# ...\n    def close(self):\n        log()\n"
    snippet += "        self.open = False\n```\nDone."
    assert apply("shop.py", SHOP, snippet) == SHOP.replace(
        "        self.open", "        log()\n        self.open"
    )


@pytest.mark.parametrize("changed", [True, False], ids=["with a changed line", "alone"])
def test_what_can_be_new_or_in_the_place_of_its_like_is_refused(changed: bool) -> None:
    def option(name: str, text: str) -> str:
        return (
            f'    add(\n        "{name}",\n        action="store_true",\n        default=False,\n'
            f'        help="{text}",\n    )\n'
        )

    last = '    add(\n        "--last",\n    )\n'
    first = '    add(\n        "--first",\n        help="Load a plugin early. "\n'
    first += '        "Say no to avoid it.",\n    )\n'
    text = f"def options(add):\n{first}{option('--trace', 'Trace what is loaded')}{last}"
    until = "    add(\n" if changed else last
    said = first.partition("\n")[2].partition("\n")[2]
    said = said.replace("Say no", "Say never") if changed else said
    snippet = f"# ...\n{said}{option('--more', 'Load no more')}{until}# ...\n"
    if changed:
        assert "in the place of some" in refusal("a.py", text, snippet).reason
    else:  # a line that stands once follows, so that the option between is replaced
        assert "--trace" not in apply("a.py", text, snippet)


@pytest.mark.parametrize("between", [4, 60])
def test_the_more_goes_the_more_must_stay(between: int) -> None:
    lines = "".join(f"        step_{number}()\n" for number in range(between))
    text = (
        f"def f(x):\n    if x:\n        one()\n    else:\n{lines}    done()\n" + "def g():\n    done()\n" * 3
    )
    snippet = "# ...\n    else:\n        other(x)\n    done()\n# ...\n"
    if between > 4:
        assert "too little of the snippet stands" in refusal("a.py", text, snippet).reason
    else:
        assert apply("a.py", text, snippet) == text.replace(lines, "        other(x)\n")
