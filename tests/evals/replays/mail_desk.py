"""A desk for mail whose runs are recorded and replayed."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from stepgraph import (
    Ask,
    ScriptedModel,
    Session,
    ToolCall,
    agent,
    chain,
    effect,
    gate,
    retrieve,
    review,
    step,
    using,
    vote,
    wait,
)
from stepgraph.evals.replays.replay import ReplayReport, replay
from stepgraph.nodes.passages import Passage
from stepgraph.runners.run import resume, run

WORLD: list[str] = []  # what happened outside


@dataclass
class Mail:
    body: str
    kind: str = ""
    votes: str | None = None
    passages: list[Passage] = field(default_factory=list)
    reply: str = ""
    note: str = ""
    sent: str = ""


def look(q: str) -> str:
    """Look something up."""
    WORLD.append(f"look {q}")
    return f"{q} is {random.random()}"


def books(query: str) -> list[str]:
    WORLD.append(f"search {query}")
    return [f"{query} {random.random()}"]


def unsure(mail: Mail) -> bool:
    return False


def desk(prompt: str = "Answer", *, kind: str = "Which kind", by: str = "whole", clock: bool = False) -> Any:
    """Return a desk with each kind of answer that a record has, and a prompt that can change."""

    @step("kind")
    def classify(mail: Mail) -> Ask[str]:
        return Ask(f"{kind}: {mail.body}{time.time_ns() if clock else ''}")

    @step("votes")
    def guess(mail: Mail) -> Ask[str]:
        return Ask(f"Guess: {mail.body}")

    @retrieve("passages", books)
    def search(mail: Mail) -> str:
        return mail.body

    @step("reply")
    def advise(mail: Mail) -> Ask[str]:
        return Ask(f"{prompt}: {mail.body}, {mail.kind}, {mail.votes}, {[p.text for p in mail.passages]}")

    @review("reply", reason="note")
    def colleague(mail: Mail) -> str:
        return "Send it?"

    def post(mail: Mail) -> dict[str, str]:
        WORLD.append(f"sent {mail.reply}")
        return {"sent": f"{len(WORLD)}"}

    send = effect(key=lambda mail: mail.body)(post) if by == "key" else effect(post)
    return chain(
        classify,
        vote(guess, n=3),
        search,
        wait(until=timedelta(seconds=0)),
        agent(advise, tools=[look]),
        gate(unsure, otherwise=colleague),
        send,
        name="desk",
    ).compile()


def answers(mark: str = "") -> ScriptedModel:
    """Return a model whose answers are never the same, and that looks one thing up twice."""
    count = iter(range(10_000))

    def say(request: Any, context: Any) -> Any:
        turns = sum(message["role"] == "tool" for message in request.messages)
        if context.step == "advise" and turns < 2:
            return ToolCall("look", {"q": "tea"})
        return f"{context.step} {mark} {next(count)}"

    return ScriptedModel(say)


def record(session: Session, *threads: str, graph: Any = None, **options: Any) -> None:
    """Run the desk on some threads, all with one input, and approve, with a reason of each thread's own."""
    compiled = graph or desk()
    with using(answers("old")):
        for thread in threads:
            result = run(compiled, Mail("tea"), session, thread, **options)
            while result.waiting:
                answer = {"decision": "approve", "by": thread}
                result = resume(compiled, session, thread, answer=answer, **options)
    WORLD.clear()


def replayed(session: Session, graph: Any, runs: str = "graph=desk", **options: Any) -> ReplayReport:
    with using(answers("new")):
        return replay(graph, session, runs, **options)
