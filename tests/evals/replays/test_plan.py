"""A replay's plan: what is wrong is told first, and one on record that was changed names no other threads."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.errors import InputError, SettingsError
from stepgraph.evals.replays import plan as plans
from stepgraph.evals.replays.replay import replay
from stepgraph.runners.run import run


@dataclass
class Mail:
    body: str
    reply: str = ""


@step("reply")
def say(mail: Mail) -> Ask[str]:
    return Ask(mail.body)


def test_a_plan_from_elsewhere_names_no_thread_to_write_to(session: Session) -> None:
    graph = chain(say, name="short").compile()
    with using(ScriptedModel(lambda request, _: "old")):
        run(graph, Mail("a"), session, "a")
        run(graph, Mail("b"), session, "b")
        begun = replay(graph, session, "thread=a", run="mine", dry_run=True)
    (row,) = session.journal.query("SELECT input FROM runs WHERE thread_id = ?", (begun.plan.thread,))
    plan = json.loads(row["input"])
    plan["name"] = "other"
    plan["cases"][0]["thread"] = "b"
    changed = "UPDATE runs SET input = ? WHERE thread_id = ?"
    session.journal.write([(changed, (json.dumps(plan), begun.plan.thread))])

    def rows() -> list[object]:
        found = session.journal.query("SELECT * FROM invocations WHERE thread_id = ?", ("b",))
        return [found, session.journal.query("SELECT * FROM runs WHERE thread_id = ?", ("b",))]

    before = rows()
    with using(ScriptedModel(lambda request, _: "new")):
        report = replay(graph, session, "thread=a", run="mine")
    session.journal.flush()
    assert rows() == before
    assert [case.thread for case in report.cases] == [f"{begun.plan.thread}/a"]


def test_without_its_statistics_a_selection_is_checked_first_and_nothing_is_put_on_record(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "find_spec", lambda _: None)
    graph = chain(say, name="short").compile()
    with using(ScriptedModel(lambda request, _: "old")):
        run(graph, Mail("a"), session, "a")
    with pytest.raises(InputError, match="thread=nobody"):
        replay(graph, session, "thread=nobody", dry_run=True)
    with pytest.raises(SettingsError, match="scipy"):
        replay(graph, session, "thread=a", dry_run=True)
    assert len(session.journal.query("SELECT thread_id FROM runs")) == 1
