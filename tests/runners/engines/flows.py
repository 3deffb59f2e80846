"""Graphs that workers serve in tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy

from stepgraph import Ask, chain, fan_out, map_reduce, review, step, vote


@dataclass
class Mail:
    to: str
    text: str = ""
    seal: str = ""
    tries: int = 0
    parts: list[str] = field(default_factory=list)


@step("text")
def write(mail: Mail) -> Ask[str]:
    return Ask(f"Write to {mail.to}")


@step("seal")
def seal(mail: Mail) -> Ask[str]:
    return Ask(f"Seal {mail.to}")


@review("text")
def check(mail: Mail) -> str:
    return f"Send {mail.text!r}?"


@review("text", deadline=timedelta(seconds=0.5), otherwise="approve")
def check_soon(mail: Mail) -> str:
    return f"Send {mail.text!r}?"


@review(
    "text",
    to="ada",
    escalate_to={"grace": timedelta(seconds=0.4)},
    deadline=timedelta(hours=1),
    otherwise="approve",
)
def check_on(mail: Mail) -> str:
    return f"Send {mail.text!r}?"


FAILURES: dict[str, int] = {}


def unsteady(mail: Mail) -> dict[str, int]:
    """Fail as a network does, as often as is said for whom it is to."""
    if FAILURES.get(mail.to, 0):
        FAILURES[mail.to] -= 1
        raise ConnectionResetError("the line is down")
    return {"tries": mail.tries + 1}


def load(mail: Mail) -> dict[str, list[str]]:
    return {"parts": ["x" * 1_000_000 for _ in range(20)]}


plain = chain(write, seal, name="plain")
heavy = chain(load, write, check, name="heavy")
asking = chain(write, check, seal, name="asking")
hasty = chain(write, check_soon, seal, name="hasty")
passed_on = chain(write, check_on, seal, name="passed_on")
shaky = chain(write, unsteady, seal, name="shaky")
votes = vote(write, 3, needed=3, uncertain="none", name="votes")


def mixed() -> StateGraph[Mail]:
    """A graph of LangGraph's own: a closure, a retry policy, a compiled subgraph, a vote of equal prompts."""
    seen: list[str] = []

    def remember(mail: Mail) -> dict[str, str]:
        seen.append(mail.to)
        return {"seal": f"seen {len(seen)}"}

    graph = StateGraph(Mail)
    graph.add_node("remember", remember)
    graph.add_node("unsteady", unsteady, retry_policy=RetryPolicy(max_attempts=3, initial_interval=0.01))
    graph.add_node("nested", chain(write, seal, name="nested").compile())
    graph.add_node("votes", votes.compile())
    for start, end in [(START, "remember"), ("remember", "unsteady"), ("unsteady", "nested")]:
        graph.add_edge(start, end)
    graph.add_edge("nested", "votes")
    graph.add_edge("votes", END)
    return graph


@dataclass
class Mailing:
    to: list[str] = field(default_factory=list)
    mails: list[Mail] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    digest: Mail | None = None


def each(mailing: Mailing) -> list[Mail]:
    return [Mail(to) for to in mailing.to]


def together(mails: list[Mail]) -> Mail:
    return Mail(" and ".join(mail.to for mail in mails))


both = chain(write, seal, name="both")
unspread = fan_out(each, both, into="mails", name="mailing")
spread = fan_out(each, both, into="mails", spread=3, name="mailing")
spread_skipping = fan_out(each, both, into="mails", failed="skip", missing="left_out", spread=3)
spread_reviews = fan_out(each, chain(write, check, name="checked"), into="mails", spread=2)


def reduced(spread: int | None) -> Any:
    """Return a map-reduce that shares its pieces, or does not."""
    parts = {"join": together, "into": "digest", "parts": "mails", "tokens": 60, "name": "digesting"}
    return map_reduce(each, write, spread=spread, **parts)  # type: ignore[arg-type]


spread_digest = reduced(2)
