"""Search/replace blocks, diffs, edits of several files, and what a model merged in code's place."""

from __future__ import annotations

import pytest

from stepgraph.coding import apply, apply_all, check_merged
from stepgraph.errors import ApplyRefused

TEXT = """\
def one():
    x = 1
    return x


def two():
    x = 1
    y = 2
    return x + y


def three():
    return 3
"""


def block(old: str, new: str) -> str:
    return f"<<<<<<< SEARCH\n{old}=======\n{new}>>>>>>> REPLACE\n"


def test_blocks_replace_what_stands_once() -> None:
    edit = (
        "Here it is:\n\n"
        + block("    y = 2\n", "    y = 3\n")
        + "\n"
        + block("    return 3\n", "    return 4\n")
    )
    assert apply("a.py", TEXT, edit) == TEXT.replace("y = 2", "y = 3").replace("return 3", "return 4")


@pytest.mark.parametrize(
    ("edit", "part"),
    [
        (block("    x = 1\n", "    x = 2\n"), "2 and 7"),
        (block("    z = 1\n", "    z = 2\n"), "`z = 1`"),
        (block("    y = 2\n    return x\n", "    y = 3\n"), "not"),
        (block("    y = 2\n", "    y = 2\n"), "noop"),
        (
            block("    y = 2\n", "    y = 3\n") + block("    y = 2\n    return x + y\n", "    return 0\n"),
            "two edits",
        ),
        ("<<<<<<< SEARCH\n    y = 2\n=======\n    y = 3\n", "cut off"),
        ("<<<<<<< SEARCH\n    y = 2\n>>>>>>> REPLACE\n", "======="),
        (block("", "x\n"), "no old line"),
        (block("def three():\n", "def three(:\n"), "parse"),
    ],
)
def test_blocks_that_do_not_fit_once_are_refused(edit: str, part: str) -> None:
    with pytest.raises(ApplyRefused, match=part):
        apply("a.py", TEXT, edit)


def test_blocks_fit_whatever_their_indentation_and_with_one_misremembered_name() -> None:
    shifted = block("y = 2\nreturn x + y\n", "y = 2\nlog(y)\nreturn x + y\n")
    assert apply("a.py", TEXT, shifted) == TEXT.replace("y = 2\n", "y = 2\n    log(y)\n")
    longer = TEXT + "    # the end of all\n    done = compute(three)\n"
    slip = block(
        "    return 3\n    # the end of all\n    done = compute_(three)\n",
        "    return 4\n    # the end of all\n",
    )
    assert apply("a.py", longer, slip) == TEXT.replace("return 3", "return 4") + "    # the end of all\n"


def test_a_heading_of_seven_equal_signs_divides_a_block_only_where_that_fits() -> None:
    text = "Intro\n\nHeading\n=======\n\ntext one\n"
    edit = block("=======\n\ntext one\n", "=======\n\ntext 1\n")
    assert apply("a.rst", text, edit) == text.replace("one", "1")
    with pytest.raises(ApplyRefused, match="either can divide it"):
        apply("a.rst", text, block("Heading\n=======\n\ntext one\n", "Heading\n=======\n\ntext 1\n"))


@pytest.mark.parametrize(
    "header", ["@@ -7,3 +7,4 @@", "@@ -99,1 +3,70 @@", "@@ ... @@", "@@", "@@ def two():"]
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_diff_is_applied_whatever_its_line_numbers_say(header: str, newline: str) -> None:
    edit = f"--- a/a.py\n+++ b/a.py\n{header}\n     x = 1\n     y = 2\n"
    edit += "-    return x + y\n+    y += 1\n+    return y\n\n"
    expected = TEXT.replace("    return x + y", "    y += 1\n    return y")
    assert apply("a.py", TEXT.replace("\n", newline), edit) == expected.replace("\n", newline)


def test_a_diff_whose_lines_fit_twice_is_refused_unless_its_heading_or_numbers_tell() -> None:
    edit = "@@ -{n},1 +{n},1 @@{head}\n-    x = 1\n+    x = 9\n"
    with pytest.raises(ApplyRefused, match="2 and 7"):
        apply("a.py", TEXT, edit.format(n=2, head=""))
    second = TEXT.replace("    x = 1\n    y", "    x = 9\n    y")
    assert apply("a.py", TEXT, edit.format(n=70, head=" def two():")) == second
    # Numbers count only where those of another hunk proved right.
    right = edit.format(n=7, head="") + "@@ -13,1 +13,1 @@\n-    return 3\n+    return 4\n"
    assert apply("a.py", TEXT, right) == second.replace("return 3", "return 4")
    with pytest.raises(ApplyRefused):
        apply("a.py", TEXT, right.replace("-13,1", "-14,1"))


@pytest.mark.parametrize(
    ("text", "edit", "expected"),
    [
        ("a\nb\nc", " b\n-c\n+d\n", "a\nb\nd"),
        ("a\nb\nc", " b\n-c\n\\ No newline at end of file\n+d\n", "a\nb\nd\n"),
        ("a\nb\nc\n", " b\n-c\n+d\n\\ No newline at end of file\n", "a\nb\nd"),
        ("a\n\n\nb\nc\n", " a\n-\n \n b\n", "a\n\nb\nc\n"),
        ("a\n\nb\nc\n", " a\n \n+\n+n\n b\n", "a\n\n\nn\nb\nc\n"),
    ],
)
def test_blank_lines_and_the_end_of_the_file_are_as_the_diff_says(
    text: str, edit: str, expected: str
) -> None:
    assert apply("a.txt", text, "@@ -1 +1 @@\n" + edit) == expected


def test_a_patch_of_several_files_is_applied_to_all_or_none() -> None:
    files = {"pkg/a.py": "a = 1\nb = 2\n", "pkg/c.py": "c = 1\n", "pkg/d.py": "d = 1\n"}
    patch = (
        "diff --git a/pkg/a.py b/pkg/a.py\n--- a/pkg/a.py\n+++ b/pkg/a.py\n"
        "@@ -1,2 +1,2 @@\n a = 1\n-b = 2\n+b = 3\n"
        "--- /dev/null\n+++ b/pkg/new.py\n@@ -0,0 +1,2 @@\n+n = 1\n+m = 2\n"
        "--- a/pkg/d.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-d = 1\n"
    )
    expected = {"pkg/a.py": "a = 1\nb = 3\n", "pkg/c.py": "c = 1\n", "pkg/new.py": "n = 1\nm = 2\n"}
    assert apply_all(files, patch) == expected
    before = dict(files)
    with pytest.raises(ApplyRefused, match=r"pkg/c\.py"):
        apply_all(files, patch + "--- a/pkg/c.py\n+++ b/pkg/c.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n")
    assert files == before


def test_edits_by_path_are_merged_one_after_the_other() -> None:
    files = {"a.py": TEXT}
    edits = [("a.py", block("    y = 2\n", "    y = 3\n")), ("a.py", block("    y = 3\n", "    y = 4\n"))]
    assert apply_all(files, edits)["a.py"] == TEXT.replace("y = 2", "y = 4")
    assert apply_all(files, {"b.py": "x = 1\n"})["b.py"] == "x = 1\n"
    begin = "*** Begin Patch\n*** Update File: a.py\n@@ def two():\n-    y = 2\n+    y = 3\n"
    end = "*** Add File: n.py\n+n = 1\n*** End Patch\n"
    assert apply_all(files, begin + end) == {"a.py": TEXT.replace("y = 2", "y = 3"), "n.py": "n = 1\n"}


SNIPPET = "# ...\ndef two():\n    x = 1\n    log()\n    y = 2\n# ...\n"
GOOD = TEXT.replace("    y = 2", "    log()\n    y = 2")


def test_what_a_model_merged_may_differ_only_where_the_snippet_speaks() -> None:
    check_merged(TEXT, SNIPPET, GOOD, "a.py")


@pytest.mark.parametrize(
    "merged",
    [
        TEXT,
        GOOD.replace("return 3", "return 4"),  # elsewhere
        GOOD.replace("    log()\n", "    log()\n    more()\n"),  # what nobody asked for
        GOOD.replace("def three():\n    return 3\n", ""),  # gone
        SNIPPET,  # the mark in the text
        GOOD.replace("    return x + y\n", "    # ... existing code ...\n"),
        GOOD.replace("\n", "\r\n"),
        GOOD.removesuffix("\n    return 3\n"),
    ],
)
def test_a_merge_that_does_more_or_less_is_refused(merged: str) -> None:
    with pytest.raises(ApplyRefused):
        check_merged(TEXT, SNIPPET, merged, "a.py")
