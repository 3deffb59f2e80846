"""LangGraph's own dev server loads the ready graphs from langgraph.json and runs them, blocking nothing."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from stepgraph.cli.support.starter import start
from stepgraph.graphs.catalog import READY
from stepgraph.state.session.session import Session

from ..committed import until_the_dead_are_known
from ..servers import Answer, ChatServer, free_port

ROOT = Path(__file__).parents[2]
BODY = "I cancelled SG-1046 and want my money back. When do I get the refund of my payment?"


@pytest.fixture
def dev_server(tmp_path: Path, server: ChatServer) -> Iterator[str]:
    shutil.copy(ROOT / "langgraph.json", tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\n')
    with serving(tmp_path, server) as dev:
        yield dev.url


@dataclass(frozen=True)
class DevServer:
    """LangGraph's dev server, in a process of its own."""

    url: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)


@contextmanager
def serving(folder: Path, server: ChatServer) -> Iterator[DevServer]:
    """Start the dev server in a folder, with all models bound to the stub."""
    program = shutil.which("langgraph", path=Path(sys.executable).parent)
    assert program, "the extra 'studio' is not installed"
    (folder / "stepgraph.toml").write_text(
        '[session]\nurl = "runs.sqlite"\n'
        f'[models]\ndefault = {{ base_url = "{server.url}", model = "served", '
        "price = { input = 1, output = 2 } }\n"
    )
    port = free_port()
    log = (folder / "server.log").open("a")
    words = [program, "dev", "--no-browser", "--no-reload", "--port", str(port)]
    process = subprocess.Popen(words, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/ok", process, folder / "server.log")
        yield DevServer(url, process)
    finally:
        process.terminate()
        process.wait(60)
        log.close()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"the dev server did not start:\n{log.read_text()[-3000:]}")


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@pytest.mark.slow
def test_the_dev_server_runs_the_support_desk(dev_server: str, server: ChatServer, tmp_path: Path) -> None:
    server.will("Too short.", "Still no.", "Never.")
    result = _post(f"{dev_server}/runs/wait", {"assistant_id": "support-desk", "input": {"body": BODY}})
    assert result.get("__error__") is None, (tmp_path / "server.log").read_text()[-3000:]
    assert (result["topic"], result["order"], result["status"]) == ("billing", "SG-1046", "held")
    assert server.calls == 3


@pytest.mark.slow
def test_the_dev_server_runs_a_new_project(tmp_path: Path, server: ChatServer) -> None:
    start("my-flow")
    server.will("With vinegar.")
    with serving(tmp_path / "my-flow", server) as dev:
        body = {"assistant_id": "my-flow", "input": {"text": "How do I descale a kettle?"}}
        assert _post(f"{dev.url}/runs/wait", body)["reply"] == "With vinegar."


FLOW = """
import os
from dataclasses import dataclass
from pathlib import Path

from stepgraph import Ask, Budget, chain, effect, review, step, within

HERE = Path(__file__).parent


@dataclass
class Order:
    text: str = ""
    kind: str = ""
    reply: str = ""
    title: str = ""


def asking(field):
    def ask(order: Order) -> Ask[str]:
        return Ask(f"{field} of {order.text}")

    ask.__name__ = f"ask_{field}"
    return step(field)(ask)


@effect(key=lambda order: order.text)
def charge(order: Order, key: str) -> dict:
    with (HERE / "charged").open("a") as file:
        file.write(key + "\\n")
    return {}


def crash(order: Order) -> dict:
    if (HERE / "crash").exists():
        (HERE / "crash").unlink()
        os.kill(os.getpid(), 9)
    return {}


@review("reply")
def release(order: Order) -> str:
    return "Send it?"


graph = chain(asking("kind"), charge, asking("reply"), crash, release, asking("title"))
limited = chain(within(chain(asking("kind"), asking("reply")), Budget(calls=1)), asking("title"))
"""


@pytest.mark.slow
def test_a_killed_dev_server_pays_for_nothing_twice(tmp_path: Path, server: ChatServer) -> None:
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\n')
    graphs = {"order": "./flow.py:graph", "limited": "./flow.py:limited"}
    (tmp_path / "langgraph.json").write_text(json.dumps({"dependencies": ["."], "graphs": graphs}))
    (tmp_path / "crash").touch()
    order = {"text": "order 7"}
    thread = str(uuid.uuid4())
    server.will("a kind", "a reply", "a title", "a kind", "never asked")
    with serving(tmp_path, server) as dev, get_sync_client(url=dev.url) as client:
        client.threads.create(thread_id=thread, if_exists="do_nothing")
        with pytest.raises((OSError, http.client.HTTPException)):
            _post(f"{dev.url}/threads/{thread}/runs/wait", {"assistant_id": "order", "input": order})
    assert not (tmp_path / "crash").exists()
    assert server.calls == 2
    until_the_dead_are_known(tmp_path / "runs.sqlite")
    with serving(tmp_path, server) as dev, get_sync_client(url=dev.url) as client:
        client.threads.create(thread_id=thread, if_exists="do_nothing")
        _settle(client, thread)
        waiting: Any = client.runs.wait(thread, "order", input=order)
        assert "__interrupt__" in waiting, (waiting, (tmp_path / "server.log").read_text()[-3000:])
        assert server.calls == 2
        command: Any = {"resume": {"decision": "approve"}}
        ended: Any = client.runs.wait(thread, "order", command=command)
        assert (ended["kind"], ended["reply"], ended["title"]) == ("a kind", "a reply", "a title")
        other = str(client.threads.create()["thread_id"])
        client.runs.wait(other, "limited", input=order)
        assert server.calls == 4
    assert (tmp_path / "charged").read_text().splitlines() == ["charge:order 7"]
    with Session(tmp_path / "runs.sqlite") as session:
        assert session.spent(thread).calls == 3
        (run,) = session.journal.query("SELECT status FROM runs WHERE thread_id = ?", (thread,))
        assert run["status"] == "done"
        nodes = session.journal.query("SELECT path FROM node_runs WHERE thread_id = ?", (thread,))
        assert {"ask_kind", "charge", "release"} <= {row["path"] for row in nodes}


TWICE = "My card was charged twice for SG-1050, please pay one charge back."
BAD = ("Too short.", "Still no.", "Never.")  # so that the reply is held


@pytest.mark.slow
def test_a_support_desk_whose_dev_server_is_killed(tmp_path: Path, server: ChatServer) -> None:
    shutil.copy(ROOT / "langgraph.json", tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\n')
    thread, ticket = str(uuid.uuid4()), {"body": TWICE}
    server.will(*BAD[:2], Answer(BAD[2], delay_s=600))
    with serving(tmp_path, server) as dev, get_sync_client(url=dev.url) as client:
        client.threads.create(thread_id=thread)
        client.runs.create(thread, "support-desk", input=ticket)
        _wait_until(lambda: server.calls == 3, tmp_path / "server.log")
        dev.kill()
    until_the_dead_are_known(tmp_path / "runs.sqlite")
    server.will(BAD[2], *BAD)
    with serving(tmp_path, server) as dev, get_sync_client(url=dev.url) as client:
        client.threads.create(thread_id=thread, if_exists="do_nothing")
        _settle(client, thread)
        waiting: Any = client.runs.wait(thread, "support-desk", input=ticket)
        assert "Pay $129.00 back" in repr(waiting["__interrupt__"])
        assert server.calls == 4  # only the call that was under way is made again
        command: Any = {"resume": "approve"}
        ended: Any = client.runs.wait(thread, "support-desk", command=command)
        assert (ended["status"], ended["refunded"], server.calls) == ("held", 129.0, 4)

        limited = str(client.threads.create()["thread_id"])
        budget: Any = {"configurable": {"stepgraph_budget": {"calls": 2}}}
        stopped: Any = client.runs.wait(limited, "support-desk", input={"body": BODY}, config=budget)
        assert "calls = 2" in repr(stopped["__interrupt__"])
        assert server.calls == 6
    (receipt,) = (tmp_path / "outbox").iterdir()
    assert "Refund $129.00" in receipt.read_text()
    with Session(tmp_path / "runs.sqlite") as session:
        spent = session.spent(thread)
        assert (spent.calls, spent.known_usd) == (3, pytest.approx(3 * 0.00014))
        assert session.spent(limited).calls == 2
        runs = session.journal.query("SELECT thread_id, status FROM runs")
        assert {row["thread_id"]: row["status"] for row in runs} == {thread: "done", limited: "partial"}
        nodes = session.journal.query("SELECT path FROM node_runs WHERE thread_id = ?", (thread,))
        paths = {row["path"].rpartition("/")[2] for row in nodes}
        assert {"triage", "draft", "check", "approve_refund", "approved", "release"} <= paths


def _wait_until(holds: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 180
    while not holds():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.02)


def _settle(client: SyncLangGraphClient, thread: str) -> None:
    """Wait until what a restarted server runs again by itself has come to rest."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        runs = client.runs.list(thread)
        if all(run["status"] not in ("pending", "running") for run in runs):
            return
        time.sleep(0.2)
    pytest.fail("the restarted server's runs do not end")


def test_langgraph_json_names_all_ready_graphs() -> None:
    named = json.loads((ROOT / "langgraph.json").read_text())["graphs"]
    assert named == {n: f"stepgraph.graphs.ready.{n.replace('-', '_')}.graph:graph" for n in READY}
