"""What nodes refuse, by errors that name the node and say what it should give instead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stepgraph import Session, chain, effect
from stepgraph.nodes.sandboxes import run_python
from stepgraph.state.errors import DefinitionError, InputError

from .shop import Order


def receipt(order: Order) -> Any:
    return ["receipt"]


def text_for(order: Order) -> Any:
    return "receipt"


def misspelled(order: Order) -> Any:
    return {"reciept": "r1"}


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (receipt, r"Effect 'receipt' returned list; expected a state update \(a dict\) or None"),
        (text_for, "Effect 'text_for' returned str; expected a state update"),
        (misspelled, "Effect 'misspelled'.*'reciept'.*Did you mean 'receipt'"),
    ],
)
def test_an_effect_returns_an_update(session: Session, function: Callable[[Order], Any], told: str) -> None:
    app = chain(effect(function)).compile()
    with pytest.raises(DefinitionError, match=told):
        app.invoke(Order(), session.config("t"))


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/outside.txt", "a/../../outside", "", ".", "a\0"])
def test_files_stay_in_the_sandbox(name: str) -> None:
    with pytest.raises(InputError, match="lies outside the sandbox's folder"):
        asyncio.run(run_python({"main.py": "print(1)", name: "2"}, "main.py"))


@pytest.mark.parametrize("isolated", [True, False])
def test_files_in_folders_and_texts_of_all_kinds(isolated: bool) -> None:
    code = "print(ascii(open('deep/er/fine.txt', encoding='utf-8').read())); import half"
    files = {"main.py": code, "deep/er/fine.txt": "é", "half.py": "\ud800"}
    ran = asyncio.run(run_python(files, "main.py", isolated=isolated))
    assert ran.output.startswith("'\\xe9'")
    assert "SyntaxError" in ran.output
