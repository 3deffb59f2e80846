"""Random edits as models write them: right or refused; and what two places share is never guessed."""

from __future__ import annotations

import random
import re
import sysconfig
from pathlib import Path

import pytest

from stepgraph.coding import apply
from stepgraph.coding.applying import places
from stepgraph.errors import ApplyRefused

from .apply_campaign import one_case, outcome

FOLDER = Path(sysconfig.get_path("purelib"))
FILES = [file for name in ("click", "httpx", "jinja2") for file in sorted((FOLDER / name).rglob("*.py"))]
OTHERS = {
    "a.json": "{\n"
    + "".join(f'  "key{n}": {{\n    "id": {n},\n    "name": "n"\n  }},\n' for n in range(30))
    + '  "z": 0\n}\n',
    "a.toml": "".join(f'[part{n}]\nid = {n}\nname = "n"\n\n' for n in range(30)),
    "a.yaml": "".join(f"part{n}:\n  id: {n}\n  names:\n    - a\n    - b\n" for n in range(30)),
    "a.md": "".join(f"## Part {n}\n\nSome text on {n}.\n\n- a\n- b\n\n" for n in range(30)),
    "a.js": "".join(f"function f{n}(x) {{\n  const y = x + {n};\n  return y;\n}}\n\n" for n in range(30)),
    "a.ts": "".join(f"export type T{n} = {{\n  id: {n};\n  name: string;\n}};\n\n" for n in range(30)),
}


@pytest.mark.parametrize("seed", range(3))
def test_a_snippet_of_a_random_edit_is_applied_right_or_refused(seed: int) -> None:
    rnd = random.Random(seed)
    texts = {file.name: file.read_text("utf-8") for file in rnd.sample(FILES, 8)} | OTHERS
    results = []
    for name, text in [*texts.items()] * 3:
        case = one_case(rnd, name, text)
        if case:
            results.append((outcome(*case[1:]), case))
    assert len(results) > 12
    assert [case for result, case in results if result in ("WRONG", "blanks")] == []
    assert sum(result == "right" for result, _ in results) > 0.8 * len(results)


@pytest.mark.parametrize("seed", range(12))
def test_where_two_places_fit_equally_none_is_taken(seed: int) -> None:
    rnd = random.Random(seed)
    lines = [f"value_{n} = compute_{n}({n})" for n in range(60)]
    block = [f"step_{n}()" for n in range(rnd.randint(2, 6))]
    one, other = sorted(rnd.sample(range(4, 56), 2))
    lines[other:other] = block
    lines[one:one] = block
    text = "\n".join(lines) + "\n"
    at = rnd.randint(1, len(block) - 1)
    edited = [*block[:at], "added()", *block[at:]]
    with pytest.raises(ApplyRefused):
        apply("a.py", text, "\n".join(["# ...", *edited, "# ..."]))
    with pytest.raises(ApplyRefused):
        apply("a.py", text, "\n".join(["<<<<<<< SEARCH", *block, "=======", *edited, ">>>>>>> REPLACE"]))
    diff = [
        "@@ -1,9 +1,9 @@",
        *(" " + line for line in block[:at]),
        "+added()",
        *(" " + line for line in block[at:]),
    ]
    with pytest.raises(ApplyRefused):
        apply("a.py", text, "\n".join(diff))
    first = "\n".join(["# ...", lines[one - 1], *edited, "# ..."])
    expected = [*lines[:one], *edited, *lines[one + len(block) :]]
    assert apply("a.py", text, first) == "\n".join(expected) + "\n"


def test_a_refusal_says_which_lines_fit() -> None:
    text = "def f(x):\n    a = 1\n    return x\n\n\ndef g(x):\n    a = 1\n    return x\n"
    with pytest.raises(ApplyRefused) as caught:
        apply("a.py", text, "# ...\n    a = 1\n    b = 2\n    return x\n# ...\n")
    assert re.search(r"stands at 2 and 7", caught.value.reason)
    assert "line before" in caught.value.hint


@pytest.mark.parametrize(
    "lines",
    [
        [f"x = {n}" for n in range(50_000)],
        ["}"] * 50_000,
        ["    a", "  }", "  }"] * 17_000,
        ["x = '" + "a" * 1_000_000 + "'", "y = 1", "z = 2", "w = 3"],
        [f"f({{'k': [{n}, (" + "): {" * 20_000 for n in range(4)],
    ],
)
def test_the_work_for_large_and_repetitive_files_is_bounded(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paid = []
    pay = places.FileIndex.pay

    def counting(index: places.FileIndex, steps: int) -> None:
        paid.append(steps)
        pay(index, steps)

    monkeypatch.setattr(places.FileIndex, "pay", counting)
    text = "\n".join(lines) + "\n"
    middle = len(lines) // 2
    for snippet in (
        "\n".join(
            ["# ...", *lines[middle - 1 : middle + 1], "new = 1", *lines[middle + 1 : middle + 2], "# ..."]
        ),
        "\n".join(["<<<<<<< SEARCH", lines[middle], "=======", "new = 1", ">>>>>>> REPLACE"]),
        "\n".join(["@@ -1 +1 @@", " " + lines[middle - 1], "-" + lines[middle], "+new = 1"]),
    ):
        try:
            assert "new = 1" in apply("a.txt", text, snippet)
        except ApplyRefused:
            assert len(set(lines)) < len(lines)
    assert sum(paid) <= 4 * places.STEPS
