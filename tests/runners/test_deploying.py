"""What `deploy check` says of a thread before a deploy is what happens to it after."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stepgraph import RunResult, ScriptedModel, Session, resume, run, using
from stepgraph.nodes.node import AnswerNode
from stepgraph.runners.deploying import Outlook, deploy_check
from stepgraph.runners.loading import Compiled, load_graph
from stepgraph.state.codec import classes
from stepgraph.state.codec.encode import forget_writers
from stepgraph.state.errors import GraphChanged, MigrationFailed, StoreError
from stepgraph.state.json_text import json_text
from stepgraph.tracing.record.threads import find_thread

from .deploy_cases import CHANGES, MIGRATE, OLD, VERSIONED, Change

RECORD = ("checkpoints", "writes", "calls", "node_runs", "effects", "waits", "invocations", "runs")


@contextmanager
def loaded(folder: Path, source: str) -> Iterator[Compiled]:
    """Load the graph of a file app.py, as a process of its own would."""
    folder.mkdir(exist_ok=True)
    (folder / "app.py").write_text(source)
    path = list(sys.path)
    try:
        yield load_graph(f"{folder / 'app.py'}:blog").graph
    finally:
        sys.path[:] = path
        sys.modules.pop("app", None)
        for key in [key for key in classes._declared if key[0] in ("app", "marks")]:
            del classes._declared[key]
        classes._classes.clear()
        classes._allowed.clear()
        forget_writers()


def sources(changed: Change) -> tuple[str, str]:
    new = OLD
    for old, replacement in changed.edits:
        assert old in new, f"{old!r} is not there"
        new = new.replace(old, replacement)
    old = OLD
    if changed.migrates is not None:
        body = MIGRATE.replace('"1"', f'"1", nodes={changed.nodes}').replace("{BODY}", changed.migrates)
        new = new.replace("migrations = []", body) + VERSIONED.format("2")
        old += VERSIONED.format("1")
    return old, new


class Other(ScriptedModel):
    name = "other"


class Models:
    """Two models, and how often they were asked."""

    def __init__(self) -> None:
        def answer(request: Any, context: Any) -> str:
            return f"{context.step}({request.messages[-1]['content'].rstrip('.').split()[-1]})"

        self.default, self.large = ScriptedModel(answer), Other(answer)

    def forget(self) -> None:
        self.default.asks.clear()
        self.large.asks.clear()

    @property
    def asked(self) -> int:
        return len(self.default.asks) + len(self.large.asks)


def parked(session: Session, graph: Compiled, thread: str, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if at == "review":
        assert run(graph, {"topic": "tea"}, session, thread).status == "interrupted"
        return
    with monkeypatch.context() as patch:
        update: Callable[..., Any] = AnswerNode.update

        def killed(node: Any, value: Any) -> Any:
            if node.name == "draft":
                raise RuntimeError("killed between the answer and the end of its node")
            return update(node, value)

        patch.setattr(AnswerNode, "update", killed)
        with pytest.raises(RuntimeError):
            run(graph, {"topic": "tea"}, session, thread)


def to_the_end(graph: Compiled, session: Session, thread: str) -> RunResult[Any]:
    result = resume(graph, session, thread)
    for _ in range(3):
        if result.status == "done":
            break
        result = resume(graph, session, thread, answer="approve")
    return result


def is_refused_or_waits(graph: Compiled, session: Session, refusal: Any) -> bool:
    """Tell what becomes of a thread without an answer: it is refused, or only read."""
    try:
        return resume(graph, session, "t").status == "interrupted"
    except refusal:
        return True


WHOLE: dict[str, tuple[str, int]] = {}  # by the old version's source: its whole result, and its calls


def whole_run(graph: Compiled, session: Session, models: Models) -> tuple[str, int]:
    assert run(graph, {"topic": "tea"}, session, "whole").status == "interrupted"
    return json_text(to_the_end(graph, session, "whole").values), models.asked


def record_of(session: Session) -> list[Any]:
    session.journal.flush()
    return [session.journal.query(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in RECORD]


def checked(session: Session, graph: Compiled, thread: str) -> Outlook:
    before = record_of(session)
    with deploy_check(session) as check:
        outlook = check.outlook(find_thread(session.journal, thread), graph)
    assert record_of(session) == before
    return outlook


@pytest.mark.parametrize("changed", CHANGES, ids=[item.name for item in CHANGES])
def test_what_is_said_is_what_happens(
    session: Session, tmp_path: Path, changed: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = sources(changed)
    models = Models()
    with using(models.default, large=models.large):
        with loaded(tmp_path / "old", old) as graph:
            whole, in_all = WHOLE.get(old) or whole_run(graph, session, models)
            WHOLE[old] = whole, in_all
            models.forget()
            parked(session, graph, "t", changed.at, monkeypatch)
        paid = models.asked
        with loaded(tmp_path / "new", new) as graph:
            outlook = checked(session, graph, "t")
            assert models.asked == paid
            assert (outlook.verdict, models.asked) == (changed.verdict, paid), outlook
            assert changed.because in " ".join(outlook.because), outlook
            if outlook.verdict == "must finish":
                before = record_of(session)
                refusal = MigrationFailed if changed.migrates else (GraphChanged, StoreError)
                if changed.at == "review":
                    with pytest.raises(refusal):
                        resume(graph, session, "t", answer="approve")
                assert is_refused_or_waits(graph, session, refusal)
                assert record_of(session)[:6] == before[:6]
            else:
                result = to_the_end(graph, session, "t")
                assert result.status == "done"
                repaid = models.asked - in_all
                if changed.same:
                    assert repaid == outlook.repaid_calls
                    if not outlook.repaid_calls:
                        values = json.loads(whole)
                        assert all(result.values[name] == values[name] for name in ("text", "log"))
                assert result.values["log"][0] == "note"
        if outlook.verdict == "must finish":
            with loaded(tmp_path / "old", old) as graph:
                assert json_text(to_the_end(graph, session, "t").values) == whole
            assert models.asked == in_all
