"""A process that dies in mid-run: what was answered before is not paid for again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ..committed import until_the_dead_are_known
from ..servers import ChatServer
from ..warm import run_python

FLOW = """
import operator, os, sys
from dataclasses import dataclass, field
from typing import Annotated

from stepgraph import Ask, Session, chain, step, using


@dataclass
class Post:
    topic: str = ""
    outline: str = ""
    drafts: list[str] = field(default_factory=list)
    log: Annotated[list[str], operator.add] = field(default_factory=list)


@step("outline")
def plan(post: Post) -> Ask[str]:
    return Ask(f"Outline {post.topic}")


@step("outline")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write {post.outline}")


async def vote(post: Post) -> dict:
    drafts = [await write.answer(post), await write.answer(post)]
    if os.environ.get("CRASH"):
        os._exit(9)
    drafts.append(await write.answer(post))
    return {"drafts": drafts, "log": ["voted"]}


app = chain(plan, chain(vote, name="inner")).compile()

if __name__ == "__main__":
    with Session("runs.sqlite") as session, using({"model": "m", "base_url": sys.argv[1]}):
        given = Post("tea", log=["start"]) if os.environ.get("CRASH") else None
        result = app.invoke(given, session.config("t"))
        print(result["drafts"], result["log"])
"""


def run(folder: Path, url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_python("-W", "error", "flow.py", url, cwd=folder, env={**os.environ, **environment})


def test_a_crash_between_the_calls_of_a_node_loses_none_of_them(tmp_path: Path, server: ChatServer) -> None:
    (tmp_path / "flow.py").write_text(FLOW)
    server.will("1. Boil", "first", "second", "third")

    crashed = run(tmp_path, server.url, CRASH="1")
    assert (crashed.returncode, server.calls) == (9, 3), crashed.stderr

    until_the_dead_are_known(tmp_path / "runs.sqlite")
    resumed = run(tmp_path, server.url)
    assert resumed.stdout == "['first', 'second', 'third'] ['start', 'voted']\n", resumed.stderr
    assert server.calls == 4
    assert resumed.stderr == ""
