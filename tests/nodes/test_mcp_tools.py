"""Tools of MCP servers in an agent: a real server, over stdio and over HTTP."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from langgraph.types import Command

from stepgraph import (
    Ask,
    MCPServer,
    RunResult,
    ScriptedModel,
    Session,
    ToolCall,
    agent,
    chain,
    mcp,
    run,
    step,
    using,
)
from stepgraph.errors import DefinitionError, MCPServerFailed, SettingsError

from ..mcp_server import served

SERVER = Path(__file__).parents[1] / "mcp_server.py"


@dataclass
class Ticket:
    text: str = "Where is A?"
    reply: str = ""


@step("reply")
def assist(ticket: Ticket) -> Ask[str]:
    return Ask(ticket.text)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


@pytest.fixture(scope="module")
def served_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server over HTTP, for all tests that need no process of its own: its address, and what it logs."""
    log = tmp_path_factory.mktemp("shop") / "log"
    server = uvicorn.Server(uvicorn.Config(served(log).streamable_http_app(), log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp", log
        server.should_exit = True
        thread.join()


class Shop:
    """The server over HTTP, as one test sees it."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log
        log.write_text("")

    def __call__(self, **options: Any) -> MCPServer:
        return mcp(self.url, **{"name": "shop", **options})

    @property
    def calls(self) -> list[str]:
        return lines(self._log)


@pytest.fixture
def shop(served_shop: tuple[str, Path]) -> Shop:
    return Shop(*served_shop)


@pytest.fixture
def stdio(log: Path) -> Callable[..., MCPServer]:
    def make(mode: str = "plain", **options: Any) -> MCPServer:
        return mcp([sys.executable, str(SERVER), str(log), mode], **{"name": "shop", **options})

    return make


class Desk:
    """Runs an agent on a thread, and keeps what its model was shown."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shown: list[dict[str, Any]] = []

    def __call__(
        self, tools: Any, script: Sequence[Any], given: Any = None, thread: str = "t", **options: Any
    ) -> RunResult[Any]:
        model = ScriptedModel(script)
        with Session(self.folder / "runs.sqlite") as session, using(model):
            try:
                return run(
                    agent(assist, tools=tools, **options).compile(), given or Ticket(), session, thread
                )
            finally:
                self.shown = [dict(m) for m in model.asks[-1][1].messages] if model.asks else []

    def results(self) -> list[Any]:
        return [message["content"] for message in self.shown if message["role"] == "tool"]

    def decisions(self) -> list[str]:
        with Session(self.folder / "runs.sqlite") as session:
            rows = session.journal.query("SELECT reason FROM decisions WHERE kind = 'tool'", ())
            return [row["reason"] for row in rows]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


CALLS = [
    [ToolCall("find_order", {"order": "A"}), ToolCall("count", {})],
    ToolCall("fail", {"order": "B"}),
    ToolCall("refund", {}),
    ToolCall("refund", {"order": "A"}),
    ToolCall("picture", {}),
    "It is in Rome.",
]


def check_the_calls(desk: Desk, calls: list[str]) -> None:
    found, counted, failed, wrong, refunded, picture = desk.results()
    assert (found, refunded) == ("A is in Rome.", "A is paid back.")
    assert "7" in counted
    assert failed == "fail failed: Error executing tool fail: no order B"
    assert "missing" in wrong
    assert [part["type"] for part in picture] == ["text", "image_url", "input_audio", "text"]
    assert calls == ["find A", "refund A"]
    assert "shop/refund(" in desk.decisions()[-2]


def test_an_agent_calls_a_servers_tools_over_stdio(
    desk: Desk, stdio: Callable[..., MCPServer], log: Path
) -> None:
    assert desk(stdio(), CALLS).values["reply"] == "It is in Rome."
    first, *calls, last = lines(log)
    assert (first, last) == ("start", "end")  # one session
    check_the_calls(desk, calls)


def test_an_agent_calls_a_servers_tools_over_http(desk: Desk, shop: Shop) -> None:
    desk(shop(), CALLS)
    check_the_calls(desk, shop.calls)


def test_one_session_serves_all_agents_of_a_run_and_no_local_tool_is_lost(
    stdio: Callable[..., MCPServer], log: Path
) -> None:
    def find_order(order: str) -> str:
        """Look for an order."""
        return f"{order}: nothing here."

    both = [find_order, stdio()]
    graph = chain(agent(assist, tools=both, name="one"), agent(assist, tools=stdio(), name="two")).compile()
    calls = [[ToolCall("find_order", {"order": "A"}), ToolCall("shop_find_order", {"order": "A"})], "x"]
    model = ScriptedModel([*calls, ToolCall("find_order", {"order": "B"}), "y"])
    with using(model):
        assert graph.invoke(Ticket())["reply"] == "y"  # without a session too
        shown = [m["content"] for m in model.asks[1][1].messages if m["role"] == "tool"]
    assert shown == ["A: nothing here.", "A is in Rome."]
    assert lines(log) == ["start", "find A", "find B", "end"]


def test_a_call_of_a_tool_that_may_change_something_happens_once_in_a_thread_and_its_forks(
    desk: Desk, stdio: Callable[..., MCPServer], log: Path
) -> None:
    class Stop(Exception):
        pass

    refund = ToolCall("refund", {"order": "A"})
    with pytest.raises(Stop):
        desk(stdio(), [refund, refund, Stop()])
    with Session(desk.folder / "runs.sqlite") as session:
        keys = session.journal.query("SELECT key, status FROM effects", ())
        assert [row["status"] for row in keys] == ["done", "done"]  # two calls of the model are two
    desk(stdio(), ["done"])
    assert lines(log).count("refund A") == 2
    assert lines(log).count("start") == 1  # a resume that calls no tool needs no server


@pytest.mark.parametrize(
    ("tool", "once", "kept"),
    [
        ("refund", None, 1),
        ("mark", None, 1),
        ("find_order", None, 0),
        ("refund", False, 0),
        ("find_order", True, 1),
    ],
)
def test_hints_decide_what_happens_once(
    tool: str, once: bool | None, kept: int, desk: Desk, shop: Shop
) -> None:
    desk(shop(once=once), [ToolCall(tool, {"order": "A"}), "done"])
    with Session(desk.folder / "runs.sqlite") as session:
        assert len(session.journal.query("SELECT key FROM effects", ())) == kept


def answers() -> list[Any]:
    return [
        ("approve", "A is cancelled: none."),
        ({"decision": "reject", "reason": "no"}, "A is kept."),
        ({"decision": "edit", "value": {"sure": True, "note": "gift"}}, "A is cancelled: gift."),
        ({"sure": True, "note": "plain"}, "A is cancelled: plain."),
        ({"action": "accept", "content": {"sure": False}}, "A is kept."),
    ]


@pytest.mark.parametrize(("answer", "result"), answers())
def test_a_servers_question_parks_the_run_until_a_person_answers(
    answer: Any, result: str, desk: Desk, shop: Shop
) -> None:
    cancel = ToolCall("cancel", {"order": "A"})
    parked = desk(shop(), [cancel])
    assert parked.status == "interrupted"
    assert parked.waiting[0].value["question"] == "shop asks: Cancel A?"
    assert parked.waiting[0].value["value"] == {"sure": True, "note": "none"}
    assert shop.calls == ["cancel A", "kept A: cancel"]  # nothing is held while somebody thinks
    assert desk(shop(), ["ok"], Command(resume=answer)).status == "done"
    assert desk.results() == [result]
    assert shop.calls.count("cancelled A") == ("cancelled" in result)


def test_an_answer_that_does_not_fit_is_asked_again(desk: Desk, shop: Shop) -> None:
    desk(shop(), [ToolCall("cancel", {"order": "A"})])
    again = desk(shop(), [], Command(resume={"sure": "perhaps"}))
    assert "sure: 'perhaps' is not of type 'boolean'" in again.waiting[0].value["problem"]
    desk(shop(), ["ok"], Command(resume=True))
    assert desk.results() == ["A is cancelled: none."]


def test_questions_of_calls_at_the_same_time_go_to_their_own_calls(desk: Desk, shop: Shop) -> None:
    calls = [ToolCall("ask_first", {"order": name}) for name in "AB"]
    waiting = desk(shop(), [calls]).waiting
    assert sorted(item.value["question"] for item in waiting) == ["shop asks: Show A?", "shop asks: Show B?"]
    given = {
        item.id: "approve" if "B?" in item.value["question"] else {"action": "decline"} for item in waiting
    }
    desk(shop(), ["ok"], Command(resume=given))
    assert desk.results() == ["A: decline", "B: accept"]


@pytest.mark.parametrize(
    ("mode", "call", "told"),
    [
        ("plain", "die", "ended while die was called. Its last lines on stderr:\nout of stock, ***"),
        ("no-start", "count", "the database is gone"),
        (
            "garbage",
            "count",
            "within 1 s. On stdout it wrote what is not the protocol: 'Welcome",
        ),
    ],
)
def test_a_server_that_fails_is_named_with_its_last_words(
    mode: str,
    call: str,
    told: str,
    desk: Desk,
    stdio: Callable[..., MCPServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("THE_KEY", "swordfish")
    server = stdio(mode, start_s=1 if mode == "garbage" else 30, env={"SHOP_KEY": "$THE_KEY"})
    with pytest.raises(MCPServerFailed) as failed:
        desk(server, [ToolCall(call, {})])
    assert "MCP server 'shop'" in str(failed.value)
    assert told in str(failed.value)
    assert failed.value.server == "shop"


def test_what_comes_before_the_protocol_is_passed_over(desk: Desk, stdio: Callable[..., MCPServer]) -> None:
    desk(stdio("banner"), [ToolCall("count", {}), "seven"])
    assert "7" in desk.results()[0]


def test_a_call_that_hangs_is_left_and_its_server_told(desk: Desk, shop: Shop) -> None:
    desk(shop(), [ToolCall("hang", {}), ToolCall("count", {}), "enough"], timeout_s=0.3)
    assert desk.results()[0] == "hang failed: it was stopped after 0.3 s."
    until(lambda: "hang was cancelled" in shop.calls)


def test_a_server_sees_no_keys_but_those_that_are_named(
    desk: Desk, stdio: Callable[..., MCPServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("THE_KEY", "swordfish")
    desk(stdio(env={"SHOP_KEY": "$THE_KEY"}), [ToolCall("environment", {}), "ok"])
    assert "SHOP_KEY" in desk.results()[0]
    assert "OPENAI_API_KEY" not in desk.results()[0]
    with pytest.raises(SettingsError, match="MISSING_KEY is not set"):
        desk(stdio(env={"X": "$MISSING_KEY"}), [], thread="other")


@pytest.mark.parametrize("server", ["nonsense-command", "http://127.0.0.1:9/mcp"])
def test_a_server_that_is_not_there_fails_before_any_call(server: str, desk: Desk) -> None:
    with pytest.raises(MCPServerFailed, match=r"command 'nonsense-command'|did not start"):
        desk(mcp(server, name="shop"), [])


def test_a_run_that_is_stopped_closes_its_servers(tmp_path: Path, log: Path) -> None:
    script = tmp_path / "stopped.py"
    script.write_text(
        "import sys\n"
        "from dataclasses import dataclass\n"
        "from stepgraph import Ask, ScriptedModel, Session, ToolCall, agent, mcp, run, step, using\n"
        "@dataclass\n"
        "class Ticket:\n    reply: str = ''\n"
        "@step('reply')\n"
        "def assist(ticket: Ticket) -> Ask[str]:\n    return Ask('?')\n"
        f"graph = agent(assist, tools=mcp([sys.executable, {str(SERVER)!r}, {str(log)!r}])).compile()\n"
        "model = ScriptedModel([ToolCall('hang', {})])\n"
        f"with Session({str(tmp_path / 'runs.sqlite')!r}) as session, using(model):\n"
        "    run(graph, Ticket(), session, 't')\n"
    )
    for stop in ("terminate", "kill"):
        log.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
        until(lambda: "hang" in lines(log))
        getattr(process, stop)()
        process.wait()
        until(lambda: lines(log)[-1] == "end")


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"approve": ["refnd"]}, "Did you mean 'refund'"),
        ({"once": ["nothing"]}, "none of its tools"),
    ],
)
def test_options_name_tools_of_servers(options: Any, told: str, desk: Desk, shop: Shop) -> None:
    with pytest.raises(DefinitionError, match=told):
        desk(shop(), [], **options)


def test_only_the_tools_that_are_taken_are_offered(desk: Desk, shop: Shop) -> None:
    desk(
        shop(tools=["count"], prefix=True),
        [ToolCall("refund", {"order": "A"}), ToolCall("shop_count", {}), "ok"],
    )
    assert "There is no tool 'refund'" in desk.results()[0]
    assert "7" in desk.results()[1]
    with pytest.raises(DefinitionError, match="Did you mean 'count'"):
        desk(shop(tools=["cuont"]), [], thread="other")


def test_a_person_approves_a_servers_tool(desk: Desk, shop: Shop) -> None:
    waiting = desk(shop(), [ToolCall("refund", {"order": "A"})], approve=["refund"]).waiting
    assert waiting[0].value["value"] == {"order": "A"}
    edit = {"decision": "edit", "value": {"order": "B"}}
    desk(shop(), ["ok"], Command(resume=edit), approve=["refund"])
    assert [line for line in shop.calls if line.startswith("refund")] == ["refund B"]
