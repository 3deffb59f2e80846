"""Facts about providers have a source that can be found again, or say that they have none."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from stepgraph.providers.provider_table import COMPATIBLE, PROVIDERS
from stepgraph.providers.sources import NOT_CONFIRMED, SOURCES, is_confirmed, read, unread

from ..imitators import IMITATORS
from ..imitators_of_classes import CLASS_IMITATORS

OF_TABLE = {
    f"{provider.name}: {name}": source
    for provider in PROVIDERS.values()
    for name, _, source in provider.capabilities.rows()
}
OF_IMITATORS = {
    f"{kind.__name__}: {d.what}": d.source for kind in (*IMITATORS, *CLASS_IMITATORS) for d in kind.deviations
}


@pytest.mark.parametrize("sources", [OF_TABLE, OF_IMITATORS], ids=["table", "imitators"])
def test_a_fact_has_a_source_or_says_that_it_has_none(sources: dict[str, str]) -> None:
    neither = {
        fact: source
        for fact, source in sources.items()
        if is_confirmed(source) == source.startswith(NOT_CONFIRMED)
    }
    assert neither == {}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of bpe-openai
def test_what_a_package_says_is_there() -> None:
    named = {source for source in (*OF_TABLE.values(), *OF_IMITATORS.values()) if "://" not in source}
    symbols = {source.partition(": ")[2] for source in named if is_confirmed(source)} - {""}
    assert len(symbols) > 20
    for symbol in symbols:
        looked_up(symbol)


def looked_up(symbol: str) -> Any:
    """Return what a dotted name stands for: a module, a class, a field of one."""
    parts = symbol.split(".")
    found: Any = None
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        break
    for part in parts[end:]:
        fields = {**getattr(found, "__annotations__", {}), **getattr(found, "model_fields", {})}
        found = fields[part] if part in fields else getattr(found, part)
    return found


def test_no_source_is_of_a_fact_that_nobody_has() -> None:
    names = {name for name, _, _ in COMPATIBLE.rows()}
    assert SOURCES.keys() <= PROVIDERS.keys()
    assert {name for sources in SOURCES.values() for name in sources} <= names


@pytest.mark.parametrize(
    ("source", "confirmed"),
    [
        (read("https://example.org/page"), True),
        (unread("https://example.org/page"), False),
        (NOT_CONFIRMED, False),
        ("https://example.org/page", False),
        ("https://github.com/a/b/blob/master/README.md", False),
        (f"https://github.com/a/b/blob/{'0a' * 20}/README.md", True),
        ("openai 3.52.0: openai.types.Batch", True),
        ("openai: openai.types.Batch", False),
        ("", False),
    ],
)
def test_what_counts_as_a_source(source: str, confirmed: bool) -> None:
    assert is_confirmed(source) is confirmed
