"""One workflow in three libraries: they do the same, ask as often, and the page in the docs is true."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from pydantic_ai import UsageLimitExceeded, UsageLimits
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from stepgraph import Budget, Session, resume, run, using

from ..servers import Answer, ChatServer, Fault

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "compared"
PAGE = ROOT / "docs" / "side-by-side.md"
TOOLS = ["with_stepgraph", "with_langgraph", "with_pydantic_ai"]

TEXT = "Invoice R-7 of 3 March 2026: tea 4.50, cups 8.00. To pay: 12.50"
LINES = [{"what": "tea", "amount": "4.50"}, {"what": "cups", "amount": "8.00"}]
RIGHT = {"number": "R-7", "day": "2026-03-03", "lines": LINES, "total": "12.50"}
WRONG_SUM = {**RIGHT, "total": "12"}
WRONG_NUMBER = {**RIGHT, "number": "X-1"}
ADDED = "the lines add up to 12.50, not to the total of 12"
NOT_THERE = "the number 'X-1' does not stand there."


@pytest.fixture(autouse=True)
def _event_loop() -> Iterator[None]:
    """pydantic-ai's run_sync makes an event loop where the thread has none, and leaves it open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


def example(name: str) -> ModuleType:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class Desk:
    """One of the three libraries before a server that answers from a list."""

    def __init__(self, name: str, server: ChatServer, session: Session) -> None:
        self.name, self.server, self.session = name, server, session
        self.module = example(name)
        self.chat = ChatOpenAI(model="served", base_url=server.url, api_key=lambda: "key")
        client = httpx2.AsyncClient(
            limits=httpx2.Limits(max_keepalive_connections=0)
        )  # leaves no socket open
        provider = OpenAIProvider(base_url=server.url, api_key="key", http_client=client)
        self.model = OpenAIChatModel("served", provider=provider)
        self.app = self.module.build(self.chat, InMemorySaver()) if name == "with_langgraph" else None

    def answers(self, *outcomes: Any) -> None:
        """Give these answers in turn: as a tool's arguments where a tool is offered, else as text."""
        queue = list(outcomes)

        def decide() -> Answer | Fault:
            outcome = queue.pop(0)
            if isinstance(outcome, Fault):
                return outcome
            text = outcome if isinstance(outcome, str) else json.dumps(outcome)
            tools = self.server.bodies[-1].get("tools")
            if tools and not isinstance(outcome, str):
                return Answer(tool_calls=((tools[0]["function"]["name"], text),))
            return Answer(text)

        self.server.decide = decide

    def read(self) -> tuple[Any, str]:
        given = {"with_stepgraph": (self.session, "t"), "with_langgraph": (self.app, "t")}
        letter = self.module.read_invoice(TEXT, *given.get(self.name, (self.model,)))
        values = letter if isinstance(letter, dict) else vars(letter)
        return values["invoice"], values["problem"]

    def go_on(self) -> None:
        """Go on where the run broke off, or begin again where the library does not keep it."""
        if self.name == "with_stepgraph":
            resume(self.module.app, self.session, "t")
        elif self.app is not None:
            self.app.invoke(None, {"configurable": {"thread_id": "t"}})
        else:
            self.read()

    def read_with_one_call(self) -> None:
        if self.name == "with_stepgraph":
            letter = self.module.Letter(TEXT)
            result = run(self.module.app, letter, self.session, "t", budget=Budget(calls=1))
            assert result.status == "partial"
        elif self.app is not None:
            with pytest.raises(GraphRecursionError):
                self.app.invoke({"text": TEXT}, {"configurable": {"thread_id": "t"}, "recursion_limit": 2})
        else:
            with pytest.raises(UsageLimitExceeded):
                self.module.agent.run_sync(
                    TEXT, deps=TEXT, model=self.model, usage_limits=UsageLimits(request_limit=1)
                )


@pytest.fixture(params=TOOLS)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    with (
        ChatServer() as server,
        Session(tmp_path / "runs.sqlite") as session,
        using({**server.spec(), "timeout_s": 20}),
    ):
        yield Desk(request.param, server, session)


@pytest.mark.parametrize(
    ("answers", "right", "told"),
    [
        ([RIGHT], True, ""),
        ([WRONG_SUM, RIGHT], True, ADDED),
        ([WRONG_NUMBER, RIGHT], True, NOT_THERE),
        ([WRONG_NUMBER, WRONG_SUM, RIGHT], True, ADDED),
        (["I cannot read it.", RIGHT], True, ""),
        ([Fault(503), RIGHT], True, ""),
        ([WRONG_NUMBER, WRONG_SUM, WRONG_NUMBER], False, NOT_THERE),
        ([WRONG_NUMBER, WRONG_NUMBER, WRONG_SUM], False, ADDED),
    ],
)
def test_all_three_read_ask_again_and_give_up_alike(
    desk: Desk, answers: list[Any], right: bool, told: str
) -> None:
    desk.answers(*answers)
    invoice, problem = desk.read()
    assert desk.server.calls == len(answers)
    assert (getattr(invoice, "number", None) == "R-7") == right
    if right:
        assert not problem
        assert told in json.dumps(desk.server.bodies[-1]["messages"])
    else:
        assert told in problem


def test_a_run_that_broke_off_goes_on_or_begins_again(desk: Desk) -> None:
    desk.answers(WRONG_NUMBER, Fault(401), RIGHT)
    with pytest.raises(Exception, match="401"):
        desk.read()
    desk.go_on()
    knows = NOT_THERE in json.dumps(desk.server.bodies[-1]["messages"])
    assert knows == (desk.name != "with_pydantic_ai")


def test_a_limit_stops_before_the_second_call(desk: Desk) -> None:
    desk.answers(WRONG_NUMBER)
    desk.read_with_one_call()
    assert desk.server.calls == 1


def lines_of(code: str) -> int:
    """Count the lines that are neither blank nor a comment nor the docstring on top."""
    body = re.sub(r'\A""".*?"""\n', "", code, flags=re.DOTALL)
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in body.splitlines())


def table() -> str:
    """Return the row of the page that counts."""
    counts = [lines_of((FOLDER / f"{name}.py").read_text(encoding="utf-8")) for name in TOOLS]
    return f"| lines | {' | '.join(map(str, counts))} |"


def test_the_page_shows_these_files_and_counts_them() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in TOOLS:
        code = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
        head, fence, rest = text.partition(f'```python title="{name}.py"\n')
        shown, close, tail = rest.partition("```\n")
        if os.environ.get("UPDATE_DOCS"):
            text = head + fence + code + close + tail
        else:
            assert shown == code
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(re.sub(r"^\| lines \|.*$", table(), text, flags=re.MULTILINE), encoding="utf-8")
    assert table() in PAGE.read_text(encoding="utf-8")


def test_ours_is_the_shortest() -> None:
    ours, *others = map(int, re.findall(r"\d+", table()))
    assert ours < min(others)
