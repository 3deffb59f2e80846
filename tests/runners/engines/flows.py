"""Graphs that workers serve in tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy

from stepgraph import Ask, chain, review, step, vote


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


FAILURES: dict[str, int] = {}


def unsteady(mail: Mail) -> dict[str, int]:
    """Fail as a network does, as often as is said for whom it is to."""
    if FAILURES.get(mail.to, 0):
        FAILURES[mail.to] -= 1
        raise ConnectionResetError("the line is down")
    return {"tries": mail.tries + 1}


plain = chain(write, seal, name="plain")
asking = chain(write, check, seal, name="asking")
hasty = chain(write, check_soon, seal, name="hasty")
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
