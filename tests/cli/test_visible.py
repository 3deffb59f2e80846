"""No character hides in what a command prints: text, JSON, tables, errors and warnings."""

# ruff: noqa: E501
from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.cli.visible import make_visible, visible
from stepgraph.tracing.record.text import clean

from .conftest import Command

HIDDEN = "\u202e\u2066\u200f\u061c\x9b\x85\u2028\ufeff\U000e0041"
BAD = f"a{HIDDEN}b\x1b[31m"


@pytest.mark.parametrize("character", HIDDEN)
def test_an_escape_stands_for_a_hidden_character_and_json_reads_it_back(character: str) -> None:
    text = json.dumps({"said": f"x{character}y"}, ensure_ascii=False)
    assert character not in visible(text)
    assert json.loads(visible(text)) == {"said": f"x{character}y"}
    assert visible("plain, ä, 日本, 👩‍👧") == "plain, ä, 日本, 👩‍👧"


def encoded(text: str) -> str:
    """Return a text as selectors of a character's form, which nobody sees."""
    return "".join(chr(0xFE00 + half) for byte in text.encode() for half in divmod(byte, 16))


@pytest.mark.parametrize(
    "hidden",
    [
        "\xad", "\u034f", "\u115f", "\u3164", "\uffa0", "\u180e", "\U0001d173", "\U000e0101", "\u200d", "\u200c\u200d" * 8,
        "\ufe0f", encoded("pay"),
    ],
    ids=ascii,
)  # fmt: skip
@pytest.mark.parametrize("before", ["a", "", "👩"])
def test_what_nobody_sees_hides_nothing(hidden: str, before: str) -> None:
    text = f"{before}{hidden}b"
    if before == "👩" and hidden in ("\u200d", "\ufe0f"):
        assert visible(text) == text
        return
    assert not set(hidden) & set(visible(text))
    assert json.loads(f'"{visible(text)}"') == text
    assert not set(hidden) & set(clean(text))


@pytest.mark.parametrize("text", ["❤️‍🔥", "1️⃣", "👩‍👧", "می‌خواهم", "क्‍ष", "☎️!"])
def test_emoji_and_scripts_stay_as_they_are(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    "words",
    [
        ("threads",), ("threads", "--json"), ("show", "{id}"), ("show", "{id}", "--json"), ("history", "{id}"),
        ("history", "{id}", "--json"), ("sql", "SELECT * FROM calls"),
        ("sql", "SELECT * FROM calls", "--json"),
        ("export",), ("export", "--spans"), ("pending",), ("show", BAD),
        ("sql", f"SELECT '{BAD}"),
        ("eval", "run", f"{BAD}.yaml"), ("run", BAD),
        ("effect", BAD, "--done"),
        ("run", "memo.py:graph", "-i", f"text={BAD}", "--json"), ("nonsense", BAD), (BAD,),
    ],
    ids=str,
)  # fmt: skip
def test_nothing_hides_in_what_a_command_prints(command: Command, memo: Any, words: tuple[str, ...]) -> None:
    memo.will(BAD, BAD)
    thread = f"t{HIDDEN.replace(chr(0x85), '').replace(chr(0x2028), '')}"
    command("run", "memo.py:graph", "-i", f"text={BAD}", "--thread", thread)
    with Session("stepgraph.sqlite") as session:
        session.journal.write([("UPDATE runs SET error = ?", (BAD,))])
    done = command(*(word.format(id=thread) if "{id}" in word else word for word in words))
    told = done.out + done.err
    assert told
    assert not set(HIDDEN) & set(told)


def test_a_warning_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    make_visible()
    assert warnings.formatwarning("It\nis so.", UserWarning, "f.py", 1) == "Warning: It is so.\n"
