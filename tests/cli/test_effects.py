"""`stepgraph effects` and `stepgraph effect`: what to do about an e-mail that may have been sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Command

SHOP = """
import os
from dataclasses import dataclass
from pathlib import Path
from stepgraph import chain, effect

@dataclass
class Order:
    id: str
    receipt: str = ""

@effect(key=lambda order: order.id)
def charge(order: Order, key: str) -> dict[str, str]:
    with Path("world").open("a") as world:
        world.write(key)
    if not os.environ.get("ONLINE"):
        raise ConnectionError("line cut")
    return {"receipt": "r1"}

graph = chain(charge, name="shop")
"""


@pytest.fixture
def undecided(command: Command, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    assert command("run", "shop.py:graph", "-i", "id=order 7", "--thread", "t").code == 1


def test_what_may_have_happened_is_not_repeated(command: Command, undecided: None, tmp_path: Path) -> None:
    refused = command("resume", "t")
    assert refused.code == 2
    assert "stepgraph effect 'charge:order 7' --done" in refused.out
    assert (tmp_path / "world").read_text() == "charge:order 7"


def test_open_effects_are_listed(command: Command, undecided: None) -> None:
    shown = command("effects")
    assert shown.out.startswith("charge:order 7  t  ")
    assert "failed: ConnectionError: line cut" in shown.out
    (row,) = command("effects", "--json").rows
    assert (row["key"], row["thread_id"], row["running"]) == ("charge:order 7", "t", False)
    assert row["error"] == "ConnectionError: line cut"


def test_it_was_done(command: Command, undecided: None, tmp_path: Path) -> None:
    done = command("effect", "charge:order 7", "--done", "--wrote", '{"receipt": "by hand"}')
    assert (done.code, "stepgraph resume t" in done.out) == (0, True)
    assert command("effects").out == "Of every side effect it is known whether it happened.\n"
    resumed = command("resume", "t", "--json")
    assert json.loads(resumed.out)["output"]["receipt"] == "by hand"
    assert (tmp_path / "world").read_text() == "charge:order 7"


def test_do_it_again(
    command: Command, undecided: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("effect", "charge:order 7", "--again").code == 0
    monkeypatch.setenv("ONLINE", "1")
    assert json.loads(command("resume", "t", "--json").out)["output"]["receipt"] == "r1"
    assert (tmp_path / "world").read_text() == "charge:order 7" * 2
    assert command("effect", "charge:order 7", "--again").code == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["charge:order 7"], "--done, or --again"),
        (["charge:order 8", "--done"], "Did you mean 'charge:order 7'?"),
        (["charge:order 7", "--done", "--wrote", "r1"], "expected a JSON object"),
        (["charge:order 7", "--again", "--wrote", '{"receipt": "r1"}'], "pass happened=True"),
    ],
)
def test_what_cannot_be_decided_so(command: Command, undecided: None, words: list[str], told: str) -> None:
    refused = command("effect", *words)
    assert refused.code == 2
    assert told in refused.err
