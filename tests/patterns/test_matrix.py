"""Every pattern x every property: what the table in docs/patterns/README.md ticks is proved here."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command

from stepgraph import Budget, ScriptedModel, Session, answering, chain, gate, run, using
from stepgraph.nodes.costs import cost_of, least, most
from stepgraph.providers.model import CallContext, Request
from stepgraph.state.errors import ModelRefused
from stepgraph.tracing import fork

from ..committed import committed_at
from ..servers import ChatServer
from .cases import CASES, Case, Script, Task, answer_to, note, pause, write
from .living import label
from .told import Told

ROOT = Path(__file__).parents[2]

each = pytest.mark.parametrize("name", CASES)


class Model(ScriptedModel):
    """Answers as the script does, and can fail once; once it is `pleased`, every grade is a good one."""

    def __init__(self, failing: str = "") -> None:
        super().__init__(self._say)
        self.script = Script()
        self.failing = failing
        self.pleased = False

    def _say(self, request: Request, context: CallContext) -> Any:
        told = any(message["role"] == "tool" for message in request.messages)
        prompt = next(str(m["content"]) for m in request.messages if m["role"] == "user")
        if prompt.startswith(self.failing or "\0"):
            self.failing = ""
            return ModelRefused("it will not do")
        if self.pleased and prompt.startswith("Grade"):
            return 5
        loop = f"{context.thread_id}|{context.task.rpartition('|')[0]}"
        return self.script.answer(prompt, loop, told=told)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session(tmp_path_factory.mktemp("patterns") / "runs.sqlite") as session:
        yield session


@pytest.fixture
def model() -> Iterator[Model]:
    with using(model := Model()):
        yield model


def answers(interrupts: Any) -> Command[Any]:
    """Answer whatever is asked."""
    return Command(resume={each.id: answer_to(each.value) for each in interrupts})


def to_the_end(app: Any, given: Any, config: Any) -> tuple[dict[str, Any], int]:
    """Run, answering what is asked, and return the result and how often somebody was asked."""
    asked = 0
    result = app.invoke(given, config)
    while waiting := result.get("__interrupt__"):
        asked += len(waiting)
        result = app.invoke(answers(waiting), config)
    return result, asked


def check(case: Case, result: dict[str, Any], model: Model) -> None:
    assert result["draft"].startswith("draft ")
    assert len(model.asks) == case.calls(), [step for step, _ in model.asks]


@each
def test_sync(name: str, runs: Session, model: Model) -> None:
    case = CASES[name]
    result, asked = to_the_end(case.build(write).compile(), Task(), runs.config())
    check(case, result, model)
    assert asked == case.asks


@each
async def test_async(name: str, runs: Session, model: Model) -> None:
    case = CASES[name]
    app, config = case.build(write).compile(), runs.config()
    result = await app.ainvoke(Task(), config)
    while waiting := result.get("__interrupt__"):
        result = await app.ainvoke(answers(waiting), config)
    check(case, result, model)


@each
def test_stream(name: str, runs: Session, model: Model) -> None:
    """What each node writes comes while it runs, nested graphs included; the last state is the result."""
    case = CASES[name]
    app, config = case.build(write).compile(), runs.config()
    given: Any = Task()
    nodes: list[str] = []
    last: Any = {}
    chunk: Any
    while given is not None:
        asked: list[Any] = []
        for _, mode, chunk in app.stream(given, config, stream_mode=["updates", "values"], subgraphs=True):
            if mode == "updates":
                nodes += chunk
                asked += chunk.get("__interrupt__", ())
            last = chunk if mode == "values" else {}
        given = answers({each.id: each for each in asked}.values()) if asked else None
    places = ("write", "one", "plain", "repair", "otherwise")
    assert any(node.partition("_")[0] in places for node in nodes), nodes
    check(case, last, model)


@each
def test_interrupt_inside(name: str, runs: Session, model: Model) -> None:
    """A part waits for an answer, each time that it runs; no call is made again for that."""
    case = CASES[name]
    result, asked = to_the_end(case.build(chain(write, pause)).compile(), Task(), runs.config())
    check(case, result, model)
    assert asked == case.runs + case.asks


@pytest.mark.parametrize("inner", CASES)
@pytest.mark.parametrize("outer", CASES)
def test_nested(outer: str, inner: str, runs: Session, model: Model) -> None:
    """Every pattern in every one: the calls are those of both formulas, and each log counts once."""
    around, within_it = CASES[outer], CASES[inner]
    graph = around.build(within_it.build(chain(write, note)))
    thread = f"{inner} in {outer}"
    result, asked = to_the_end(graph.compile(), Task(), runs.config(thread))
    joined = runs.journal.query(
        "SELECT count(*) AS calls FROM calls WHERE thread_id = ? AND source = 'coalesced'", [thread]
    )
    calls = len(model.asks) + joined[0]["calls"]  # equal calls of one thread at one time are made once
    assert calls == around.calls(within_it.calls())
    assert result["draft"].startswith("draft ")
    assert asked == around.asks + around.runs * within_it.asks
    assert result["log"].count("written") == around.kept * within_it.kept
    assert least(cost_of(graph)) <= calls <= most(cost_of(graph))


@each
def test_as_a_decider(name: str, runs: Session, model: Model) -> None:
    """What it answers with decides in a gate, as it would in a route, a guard or a loop."""
    case = CASES[name]
    pattern = answering(case.build(write), "draft")
    app = chain(gate(pattern, lambda draft: draft.startswith("draft ")), note).compile()
    result, asked = to_the_end(app, Task(), runs.config(f"deciding-{name}"))
    check(case, result, model)
    assert asked == case.asks
    assert result["log"][-1] == "written"
    rows = runs.journal.query(
        "SELECT choice FROM decisions WHERE thread_id = ? AND path LIKE '%/decide'", [f"deciding-{name}"]
    )
    assert [row["choice"] for row in rows] == ["passed"]


@each
def test_fork(name: str, runs: Session, model: Model) -> None:
    """Before its last call: that one is asked again, and what was answered before is taken over."""
    case = CASES[name]
    app = case.build(write).compile()
    to_the_end(app, Task(), runs.config(f"forked-{name}"))
    last = runs.journal.query(
        "SELECT id FROM calls WHERE thread_id = ? ORDER BY started_at DESC, id DESC", [f"forked-{name}"]
    )[0]
    forked = fork(runs, f"forked-{name}", call=last["id"], new_thread=f"fork-of-{name}")
    model.pleased = True
    result, _ = to_the_end(app, None, runs.config(forked))
    assert result["draft"].startswith("draft ")
    assert len(model.asks) == case.calls() + 1
    copied = runs.journal.query(
        "SELECT count(*) AS n FROM calls WHERE thread_id = ? AND source = 'copied'", [forked]
    )
    assert copied[0]["n"] == case.calls() - 1


@each
def test_budget_end_inside(name: str, runs: Session, model: Model) -> None:
    """One call too few: the run pauses with what it has; a larger budget pays for that call alone."""
    case = CASES[name]
    app, calls = case.build(chain(write, note)).compile(), case.calls()
    given: Any = Task()
    thread = f"budget-{name}"
    limit = Budget(calls=calls - 1)
    for _ in range(1 + case.asks):
        result = run(app, given, runs, thread, budget=limit)
        given = answers(result.waiting)
    assert result.status == "partial", result
    assert "calls" in str(result.limit)
    assert result.missing
    assert (result.spent.calls, len(model.asks)) == (calls - 1, calls - 1)
    result = run(app, None, runs, thread, budget=Budget())
    while result.status == "interrupted":
        result = run(app, answers(result.waiting), runs, thread)
    assert result.status == "done"
    check(case, result.values, model)


@each
def test_a_failing_model_call_inside(name: str, runs: Session, model: Model) -> None:
    """It stops the run with the step's name, and a resume repeats that call alone; or it is absorbed."""
    case = CASES[name]
    app, config = case.build(write).compile(), runs.config(f"failing-{name}")
    model.failing = "Write"
    if case.absorbs:
        result, _ = to_the_end(app, Task(), config)
        assert result["draft"] in ("jot", "?", "draft 1"), result
        reasons = runs.journal.query(
            "SELECT reason || choice AS told FROM decisions WHERE thread_id = ?", [f"failing-{name}"]
        )
        assert any("failed" in row["told"] or "it will not do" in row["told"] for row in reasons)
        return
    with pytest.raises(ModelRefused, match="Step 'write': it will not do"):
        to_the_end(app, Task(), config)
    result, _ = to_the_end(app, None, runs.config(f"failing-{name}"))
    assert result["draft"].startswith("draft ")
    assert len(model.asks) == case.calls() + 1


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Told, dict[str, tuple[str, int]]]:
    """Kill -9 one process with all threads in it, each in another call; return what the next one did."""
    folder = tmp_path_factory.mktemp("killed")
    file = folder / "runs.sqlite"
    with ChatServer() as server:
        told = Told(server)
        command = [sys.executable, "-m", "tests.patterns.living", server.url, str(file)]
        with subprocess.Popen(command, cwd=ROOT) as process:
            until(lambda: is_still(told, file), process)
            process.kill()
        told.holding = False
        done = subprocess.run(
            [*command, "on"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
    return told, {row[0]: (row[1], row[2]) for row in map(json.loads, done.stdout.splitlines())}


def is_still(told: Told, file: Path) -> bool:
    """Tell whether each thread has a call under way, and all answers are on record, for a while."""
    asked = told.asked.total()
    time.sleep(0.5)
    answered = committed_at(file, "SELECT count(*) FROM calls WHERE answer IS NOT NULL")[0][0]
    return asked == told.asked.total() and told.is_still(answered)


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    for _ in range(3000):
        assert process.poll() is None, "it ended before it was killed"
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("the threads did not come to a stand")


@pytest.mark.xdist_group("patterns")
@each
def test_resume_after_kill(name: str, killed: tuple[Told, dict[str, tuple[str, int]]]) -> None:
    """Killed in its first call, in its second, …: only the call under way is made again."""
    told, ends = killed
    case = CASES[name]
    for number in range(1, case.calls() + 1):
        thread = label(name, number)
        assert told.answered[thread] == case.calls(), thread
        draft, logs = ends[thread]
        assert draft.startswith("draft ")
        assert logs == case.kept
