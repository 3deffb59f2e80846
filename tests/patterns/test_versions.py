"""In every pattern, a thread that waits goes on under another version, and nothing is paid again for that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langgraph.types import interrupt

from stepgraph import Budget, Session, chain, migration, run, using, versioned
from stepgraph.errors import MigrationFailed
from stepgraph.runners.deploying import deploy_check
from stepgraph.tracing.record.pending import read_waiting
from stepgraph.tracing.record.threads import find_thread

from .cases import CASES, Task, note, pause, write
from .test_matrix import Model, answers, check, to_the_end


def halt(task: Task) -> dict[str, str]:
    return {"note": interrupt(f"Go on with {task.draft}?")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session(tmp_path_factory.mktemp("versions") / "runs.sqlite") as session:
        yield session


@pytest.fixture
def model() -> Iterator[Model]:
    with using(model := Model()):
        yield model


def outlook(session: Session, thread: str, app: Any) -> Any:
    with deploy_check(session) as checking:
        return checking.outlook(find_thread(session.journal, thread), app)


@pytest.mark.parametrize("name", CASES)
def test_a_part_that_waits_has_another_name_now(name: str, runs: Session, model: Model) -> None:
    case, thread = CASES[name], f"renamed-{name}"
    old = versioned(case.build(chain(write, pause, name="part")), "1").compile()
    result = old.invoke(Task(), runs.config(thread))
    assert result["__interrupt__"]
    paid = len(model.asks)
    said = outlook(runs, thread, old)
    assert (said.verdict, said.repaid_calls) == ("goes on", 0), said
    places = {item.path for item in read_waiting(runs, thread) if item.name == "pause"}
    nodes = {path: f"{path.removesuffix('pause')}halt" for path in places}

    @migration(from_="1", nodes=nodes)
    def same(old: dict[str, Any]) -> dict[str, Any]:
        return old

    new = versioned(case.build(chain(write, halt, name="part")), "2", [same]).compile()
    said = outlook(runs, thread, new)
    if name == "agent":  # its tool calls a graph, which nobody sees from outside
        assert (said.verdict, len(model.asks)) == ("must finish", paid)
        assert "a graph that its code calls" in said.because[0]
        with pytest.raises(MigrationFailed):
            new.invoke(None, runs.config(thread))
        result, _ = to_the_end(old, None, runs.config(thread))
        check(case, result, model)
        return
    assert (said.verdict, said.repaid_calls, len(model.asks)) == ("migrates", 0, paid), said
    result, _ = to_the_end(new, None, runs.config(thread))
    check(case, result, model)


@pytest.mark.parametrize("name", ["vote", "fan_out", "refine", "section", "map_reduce", "agent"])
def test_a_budget_ended_inside(name: str, runs: Session, model: Model) -> None:
    case, thread = CASES[name], f"partial-{name}"
    old = versioned(case.build(chain(write, note, name="part")), "1").compile()
    given: Any = Task()
    for _ in range(1 + case.asks):
        ended = run(old, given, runs, thread, budget=Budget(calls=case.calls() - 1))
        given = answers(ended.waiting)
    assert ended.status == "partial"

    @migration(from_="1")
    def same(old: dict[str, Any]) -> dict[str, Any]:
        return {**old, "text": old.get("text", "tea")}

    new = versioned(case.build(chain(write, note, name="part")), "2", [same]).compile()
    for app, verdict in ((old, "goes on"), (new, "migrates")):
        said = outlook(runs, thread, app)
        assert (said.verdict, said.repaid_calls) == (verdict, 0), said
    assert len(model.asks) == case.calls() - 1
    done = run(new, None, runs, thread, budget=Budget())
    while done.status == "interrupted":
        done = run(new, answers(done.waiting), runs, thread)
    check(case, done.values, model)
