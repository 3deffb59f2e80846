"""Compressing: whole lines, word for word, within the target, and those that the question needs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from stepgraph.coding import Compressed, LineRange, Read, compress, count_tokens
from stepgraph.errors import DefinitionError

ROOT = Path(__file__).parents[2]
FILES = [
    *("state/budget.py", "nodes/contexts.py", "docs/safety.md", "pyproject.toml", "Makefile"),
    *("ui/static/page.js", "tests/coding/test_compress.py"),
]
FILES = [name for name in FILES if (ROOT / name).exists()]


def reads_of(*names: str) -> list[Read]:
    return [Read(name, 1, (ROOT / name).read_text(encoding="utf-8")) for name in names]


def marks_in(text: str) -> tuple[str, str]:
    """The marks of files and of numbers, as the first two lines have them."""
    head, at = [*text.split("\n"), "", ""][:2]
    return head.partition(" ")[0], at.rstrip("0123456789")


def is_verbatim(found: Compressed, reads: list[Read]) -> bool:
    """Tell whether the text has lines of the reads alone, in their order, each under its number."""
    lines = {
        (read.file, number): line
        for read in reversed(reads)
        for number, line in enumerate(read.text.split("\n"), read.start)
    }
    head, at = marks_in(found.text)
    files = {f"{head} {read.file}": read.file for read in reads}
    kept = {(r.file, n) for r in found.ranges for n in range(r.start, r.end + 1)}
    shown = set()
    file, number = "", 0
    for line in found.text.split("\n") if found.text else []:
        if line in files and (file, number) not in kept:
            file, number = files[line], -1
        elif line.startswith(at) and line[len(at) :].isdigit() and (file, number) not in kept:
            number = int(line[len(at) :])
        else:
            if lines[file, number] != line:
                return False
            shown.add((file, number))
            number += 1
    return shown == kept


def check(query: str, reads: list[Read], room: int) -> None:
    found = compress(query, reads, tokens=room)
    assert count_tokens(found.text) <= room
    assert is_verbatim(found, reads)
    assert found == compress(query, reads, tokens=room)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0.05, 0.4, 0.9, 1.0])
def test_files_of_any_kind_keep_whole_lines_within_the_target(name: str, keep: float) -> None:
    reads = reads_of(name)
    found = compress("how is a budget reserved, and what is left out of a conversation?", reads, keep=keep)
    assert is_verbatim(found, reads)
    assert found.removed >= 1 - keep - 1e-9
    assert found.ranges
    assert list(found.ranges) == sorted(found.ranges, key=lambda range_: -range_.score)


LINES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            *("def run(self):", "class Worker:", "    return self.state", '    """Say it."""', "# why", ""),
            *(
                "import os",
                "@cached",
                "}",
                "function go(a) {",
                "/* note",
                "*/",
                "# Heading",
                "Title",
                "=====",
            ),
            *(
                "| a | b |",
                "|---|---|",
                "```",
                "2024-01-02 03:04:05 ERROR lost",
                "  at x.y(z)",
                '{"a": [',
                "\r",
            ),
            *("@12", "## a.py", '"""', "\tif x:", "x = 1  # state", "...", "\x00", "a,b,c", "\ud800"),
        ]
    ),
)


@given(
    texts=st.lists(st.lists(LINES, max_size=30), max_size=4),
    names=st.lists(st.sampled_from(["a.py", "b.ts", "c.md", "d.log", "e.json", "f"]), min_size=4, max_size=4),
    query=st.sampled_from(["", "the of", "worker state lost", "Ünïcode \x00"]),
    room=st.integers(1, 400),
)
@settings(max_examples=60, deadline=None)
def test_any_text_keeps_whole_lines_within_any_target(
    texts: list[list[str]], names: list[str], query: str, room: int
) -> None:
    reads = [
        Read(name, 1 + 7 * n, "\n".join(text))
        for n, (name, text) in enumerate(zip(names, texts, strict=False))
    ]
    found = compress(query, reads, tokens=room)
    assert count_tokens(found.text) <= room
    head, at = marks_in(found.text)
    pool = iter([line for read in reads for line in read.text.split("\n")])
    marks = {f"{head} {read.file}" for read in reads}
    for line in found.text.split("\n") if found.text else []:
        if line in marks or (line.startswith(at) and line[len(at) :].isdigit()):
            continue
        assert line in pool  # moves on: the lines come in order
    assert found == compress(query, reads, tokens=room)


def test_a_line_that_was_read_twice_is_kept_once() -> None:
    text = (ROOT / "state/budget.py").read_text(encoding="utf-8")
    lines = text.split("\n")
    reads = [Read("b.py", 1, "\n".join(lines[:60])), Read("b.py", 31, "\n".join(lines[30:90]))]
    found = compress("budget", reads, keep=1.0)
    numbers = [number for range_ in found.ranges for number in range(range_.start, range_.end + 1)]
    assert len(numbers) == len(set(numbers))


CODE = '''"""How tasks are revoked."""
import logging
from states import PENDING, REVOKED

LIMIT = 10


class Control:
    """Talks to the workers.

    A long explanation that nobody needs in order to change what happens to a revoked task,
    with all its history, examples and thanks.
    """

    def ping(self, timeout):
        """Ask whether anybody is there."""
        replies = self.broadcast("ping", timeout=timeout)
        return [reply for reply in replies if reply]

    def revoke(self, task_id):
        # The worker forgets it, and so do we.
        if len(self.revoked) >= LIMIT:
            self.revoked.clear()
        self.revoked.add(task_id)
        self.store(task_id, REVOKED)

    def rate(self, name, limit):
        """Set how often a task runs."""
        self.limits[name] = self.parse(limit)
        return self.broadcast("rate", name=name, limit=limit)

    def store(self, task_id, state):
        logging.info("%s is %s", task_id, state)
        self.backend[task_id] = state
'''


def test_a_kept_statement_brings_its_heads_and_what_it_uses() -> None:
    found = compress("after I revoke a task it is not stored", [Read("control.py", 1, CODE)], tokens=85)
    assert "self.store(task_id, REVOKED)" in found.text
    assert "class Control:" in found.text
    assert "def revoke(self, task_id):" in found.text
    assert "nobody needs" not in found.text
    assert "def ping" not in found.text
    best = found.ranges[0]
    assert isinstance(best, LineRange)
    assert best.reason == "revoke"


def test_a_docstring_whose_beginning_was_not_read_is_known_as_one() -> None:
    lines = CODE.split("\n")
    text = "\n".join(lines[9:])  # begins in the midst of the docstring
    found = compress("after I revoke a task it is not stored", [Read("control.py", 10, text)], tokens=90)
    assert "self.store(task_id, REVOKED)" in found.text
    assert "history" not in found.text


TYPESCRIPT = """/** Everything about carts. */
import { price } from "./prices";

export class Cart {
  /** The items. */
  private items: Item[] = [];

  add(item: Item): void {
    this.items.push(item);
  }

  total(voucher?: Voucher): number {
    const sum = this.items.reduce((all, item) => all + price(item), 0);
    return voucher ? sum - voucher.discount : sum;
  }
}

export const label = (cart: Cart) => {
  return `Items: ${cart.items.length}`;
};
"""


def test_other_languages_are_cut_into_their_functions() -> None:
    found = compress("the voucher's discount", [Read("cart.ts", 1, TYPESCRIPT)], tokens=75)
    assert "voucher.discount" in found.text
    assert "export class Cart {" in found.text
    assert "label" not in found.text


DOCUMENT = """# Handbook

Welcome to all of you.

## Holidays

Thirty days a year. Ask your lead two weeks before.

Unused days are lost at the end of March.

## Travel

Trains are booked by the office.

| city | hotel limit |
|---|---|
| Berlin | 120 |
| Paris | 180 |
| Oslo | 210 |
| Rome | 140 |
"""


def test_documents_keep_their_headings_and_tables_their_heads() -> None:
    found = compress("hotel limit in Oslo", [Read("handbook.md", 1, DOCUMENT)], tokens=45)
    lines = found.text.split("\n")
    assert "| Oslo | 210 |" in lines
    assert "| city | hotel limit |" in lines
    assert "## Travel" in lines
    assert "| Paris | 180 |" not in lines
    assert "March" not in found.text


def test_a_log_keeps_the_entry_with_all_its_lines() -> None:
    entries = [f"2024-05-01 10:00:{n:02} INFO request {n} served in {n * 7} ms" for n in range(60)]
    entries.insert(41, "2024-05-01 10:00:40 ERROR payment refused\n  Traceback:\n    ValueError: no card")
    found = compress("why was the payment refused?", [Read("output", 1, "\n".join(entries))], tokens=60)
    assert "ERROR payment refused\n  Traceback:\n    ValueError: no card" in found.text


def test_data_keeps_what_its_lines_stand_under() -> None:
    rng = random.Random(1)
    services = "\n".join(
        f"  service{n}:\n    image: base:{rng.randrange(99)}\n    ports:\n      - {8000 + n}\n    scale: {n}"
        for n in range(40)
    )
    text = f"services:\n{services}\n  billing:\n    image: billing:7\n    ports:\n      - 9999\n"
    found = compress("on which port does billing listen?", [Read("compose.yaml", 1, text)], tokens=120)
    assert "services:" in found.text
    assert "billing:" in found.text
    assert "9999" in found.text


def test_the_same_lines_with_other_line_ends_are_kept() -> None:
    one = compress("revoke a task", [Read("control.py", 1, CODE)], tokens=110)
    other = compress("revoke a task", [Read("control.py", 1, CODE.replace("\n", "\r\n"))], tokens=150)
    assert "\r\n" in other.text
    assert {r.reason for r in one.ranges} & {r.reason for r in other.ranges}


@pytest.mark.parametrize(
    "text",
    [
        *(
            "x" * 1_000_000,
            " " * 200_000,
            '"' * 200_000,
            "('" * 100_000,
            '"\\' * 100_000 + "'''",
            "{" * 100_000,
        ),
        *(
            "A" * 200_000 + "\n" + "const " * 50_000,
            "class" + " " * 100_000,
            "[\n" * 4_000,
            "def f(\n" * 4_000,
        ),
        "\n".join(" " * (n % 400) + "if x:" for n in range(2_000)),
        *("# a\n" * 4_000, "/*\n" * 4_000, "| a | b |\n" * 4_000, "\n" * 20_000, '"""a\n' * 4_000),
    ],
    ids=lambda text: repr(text[:8]),
)
def test_hostile_texts_are_done_in_time_that_grows_with_their_size(text: str) -> None:
    reads = [Read(name, 1, text) for name in ("a.py", "a.ts", "a.md", "a.json", "a")]
    found = compress("a question", reads, tokens=300)
    assert count_tokens(found.text) <= 300


@pytest.mark.parametrize("seed", range(6))
def test_what_a_model_chose_comes_first_and_is_held_to_the_same_rules(seed: int) -> None:
    files = ["coding/searching/grep.py", "coding/applying/edges.py"]
    reads = [Read(name, 1, (ROOT / name).read_text("utf-8")) for name in files]
    offered = compress("how are patterns compared?", reads, tokens=2_500).ranges
    rng = random.Random(seed)
    first = rng.sample(offered, 3)
    strange = [LineRange("no.py", 1, 9), LineRange(files[0], 90_000, 90_001), LineRange(files[1], 7, 3)]
    found = compress("how are patterns compared?", reads, tokens=900, first=[*strange, *first])
    assert count_tokens(found.text) <= 900
    kept = {(one.file, number) for one in found.ranges for number in range(one.start, one.end + 1)}
    best = {(first[0].file, number) for number in range(first[0].start, first[0].end + 1)}
    lines = {
        (read.file, number): line for read in reads for number, line in enumerate(read.text.split("\n"), 1)
    }
    if sum(count_tokens(lines[place]) for place in best) < 400:
        assert all(place in kept for place in best if lines[place].strip())
    told = [line for line in found.text.split("\n") if not line.startswith(("## ", "@"))]
    assert set(told) <= {line for read in reads for line in read.text.split("\n")}


def test_nothing_read_is_nothing_kept() -> None:
    assert compress("x", [], keep=0.5) == Compressed((), "", 0.0)
    assert compress("x", [Read("a.py", 1, "")], tokens=5).ranges == ()


@pytest.mark.parametrize("target", [{"keep": 0.0}, {"keep": 1.1}, {"tokens": 0}])
def test_a_target_that_cannot_be_is_told(target: dict[str, float]) -> None:
    with pytest.raises(DefinitionError, match="expected"):
        compress("x", [], **target)  # type: ignore[arg-type]
