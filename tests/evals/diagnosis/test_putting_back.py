"""The old version beside the new one: its nodes on the new one's states, and put back into its graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Budget, ScriptedModel, Session, chain
from stepgraph.evals.diagnosis.blame import blame
from stepgraph.evals.diagnosis.findings import GraftPlan
from stepgraph.evals.diagnosis.sections import blame_sections
from stepgraph.evals.files.results import Results
from stepgraph.evals.report.render import as_text
from stepgraph.evals.running.runner import run_suite
from stepgraph.evals.suite.model import Case, Expected, Suite
from stepgraph.evals.suite.topology import Compiled
from stepgraph.providers.stack.roles import using
from stepgraph.state.errors import InputError

from ..conftest import graph, mood_of
from .test_blame import notes, rude


@dataclass
class Order:
    number: str


@dataclass
class Ticket:
    body: str
    order: Order | None = None
    reply: str = ""


def desk(find: Any, answer: Any) -> Compiled:
    find.__name__, answer.__name__ = "find", "answer"
    return chain(find, answer, name="desk").compile()


def find_whole(ticket: Ticket) -> dict[str, Any]:
    return {"order": Order(f"SG-{ticket.body}")}


def find_bare(ticket: Ticket) -> dict[str, Any]:
    return {"order": Order(ticket.body)}


def answer_strict(ticket: Ticket) -> dict[str, str]:
    """Read only numbers with letters before them."""
    number = ticket.order.number if ticket.order else ""
    return {"reply": f"refund {number}" if number.startswith("SG-") else "which order?"}


def tickets(*, scored: bool = True) -> Suite:
    return Suite("tickets", [ticket(f"{n}", scored) for n in range(12)])


def ticket(number: str, scored: bool) -> Case:
    nodes: Any = {"find": {"last": {"order": {"number": f"SG-{number}"}}}} if scored else {}
    expected = Expected(output={"reply": f"refund SG-{number}"}, has_output=True, nodes=nodes)
    return Case(f"t{number}", {"body": number}, expected)


def whole() -> Compiled:
    return desk(find_whole, answer_any)


def answer_any(ticket: Ticket) -> dict[str, str]:
    number = ticket.order.number if ticket.order else ""
    return {"reply": f"refund SG-{number.removeprefix('SG-')}"}


def runs_of(session: Session, suite: Suite, a: Compiled, b: Compiled) -> tuple[Results, Results]:
    return run_suite(suite, a, session, run="a"), run_suite(suite, b, session, run="b")


def count_of(session: Session, kind: str) -> int:
    (row,) = session.journal.query(
        "SELECT count(DISTINCT thread_id) AS n FROM runs WHERE thread_id LIKE ?", (f"eval/b.a/{kind}/%",)
    )
    return int(row["n"])


def test_the_old_node_repairs_what_the_new_one_broke(session: Session) -> None:
    before, after = desk(find_whole, answer_strict), desk(find_bare, answer_strict)
    suite, plans = tickets(), list[GraftPlan]()
    a, b = runs_of(session, suite, before, after)
    found = blame(a, b, suite, after, session, old=before, announce=plans.append)
    assert (found.verdict, found.node, found.repaired) == ("blamed", "find", True)
    alone, back = found.grafts
    assert (alone.kind, alone.a, alone.b) == ("alone", 1, 0)
    assert (back.kind, back.metric, back.a, back.b, back.cases) == ("back", "output", 1, 0, 12)
    text = as_text(blame_sections(found))
    assert "Putting the old node back repairs it: output 0.000 with B's node, 1.000 with A's" in text
    without = as_text(blame_sections(replace(found, left_out={"the case was changed": 3})))
    assert "Not grafted: 3 runs: the case was changed." in without
    assert [plan.kind for plan in plans] == ["alone", "back"]
    assert count_of(session, "old") == 12 <= plans[0].runs
    assert count_of(session, "back") == 12 <= plans[1].runs


def test_a_loss_where_two_changes_meet_is_repaired_by_either_old_node(session: Session) -> None:
    """The new find is fine for the old answer, and the new answer for the old find."""
    before, after, suite = whole(), desk(find_bare, answer_strict), tickets(scored=False)
    a, b = runs_of(session, suite, before, after)
    for mixed in (desk(find_whole, answer_strict), desk(find_bare, answer_any)):
        alike = run_suite(suite, mixed, session, run=f"mixed{id(mixed)}")
        assert all(trial.scores["output"].passed for trial in alike.trials.values())
    found = blame(a, b, suite, after, session, old=before)
    assert (found.verdict, found.node, found.repaired) == ("blamed", "find", True)
    assert [graft.kind for graft in found.grafts if graft.worse] == ["onward", "back"]


def unlucky(request: Any, context: Any) -> Any:
    """Answer badly in B's own run, and well in all that comes after it."""
    return rude(request, context) if context.thread_id.startswith("eval/b/") else mood_of(request, context)


def test_what_was_bad_only_while_it_ran_is_neither_blamed_nor_repaired(
    session: Session, tmp_path: Path
) -> None:
    """B's recorded scores are low, but B run anew from the same states is as good as with the old node."""
    app, suite = graph.compile(), Suite("s", notes())
    with using(ScriptedModel(unlucky)), Session(tmp_path / "other.sqlite") as other:
        a, b = runs_of(session, suite, app, app)
        found = blame(a, b, suite, app, session, old=app)
        assert (found.verdict, found.node, found.repaired) == ("undecided", None, None)
        elsewhere = run_suite(suite, app, other, run="far")
        found = blame(elsewhere, b, suite, app, session, old=app)
    assert (found.verdict, found.node, found.repaired) == ("suspected", "bad/refine_reply/reply", False)
    assert "does not repair it beyond chance" in as_text(blame_sections(found))


def test_a_nested_node_is_put_back_with_the_old_models_and_the_others_keep_theirs(session: Session) -> None:
    asked: list[tuple[str, str]] = []

    def told(version: str, answers: Any) -> ScriptedModel:
        def answer(request: Any, context: Any) -> Any:
            if "/back/" in context.thread_id:
                asked.append((version, context.step))
            return answers(request, context)

        return ScriptedModel(answer)

    app, suite = graph.compile(), Suite("s", notes())
    old, new = told("old", mood_of), told("new", rude)
    with using(old):
        a = run_suite(suite, app, session, run="a")
    with using(new):
        b = run_suite(suite, app, session, run="b")
    found = blame(a, b, suite, app, session, models={"default": new}, old=app, old_models={"default": old})
    assert (found.verdict, found.node, found.repaired) == ("blamed", "bad/refine_reply/reply", True)
    assert {version for version, name in asked if name == "reply"} == {"old"}


def test_the_budget_may_end_while_the_old_node_is_put_back_and_nothing_is_paid_twice(
    session: Session,
) -> None:
    app, suite = graph.compile(), Suite("s", notes(), concurrency=1)
    with using(ScriptedModel(rude)):
        b = run_suite(suite, app, session, run="b")
    with using(ScriptedModel(mood_of)):
        a = run_suite(suite, app, session, run="a")
    asked: list[str] = []

    def counted(answers: Any) -> ScriptedModel:
        return ScriptedModel(lambda request, context: asked.append("") or answers(request, context))

    models = {"default": counted(rude)}
    versions: Any = {"models": models, "old": app, "old_models": {"default": counted(mood_of)}}
    # Both versions' nodes alone ask 24 times each; the rest is of the graph with the old node put back.
    first = blame(a, b, replace(suite, budget=Budget(calls=60)), app, session, **versions)
    assert (first.verdict, first.repaired, first.complete, first.cost.calls) == ("blamed", None, False, 60)
    again = blame(a, b, suite, app, session, **versions)
    assert (again.repaired, again.complete) == (True, True)
    assert again.cost.calls == len(asked)
    assert blame(a, b, suite, app, session, **versions).cost == again.cost


def test_what_is_put_back_must_be_the_version_of_the_run(session: Session) -> None:
    app, other = desk(find_whole, answer_strict), graph.compile()
    suite = tickets()
    a, b = runs_of(session, suite, app, app)
    with pytest.raises(InputError, match="'a' is of a graph with other nodes or edges than the old version"):
        blame(a, b, suite, app, session, old=other)


@dataclass
class Kind:
    number: str


@dataclass
class OtherTicket:
    """The same state, with a type of its own inside, as another checkout has it."""

    body: str
    order: Kind | None = None
    reply: str = ""


def test_states_with_types_of_the_other_checkout_fit(session: Session) -> None:
    def find(ticket: OtherTicket) -> dict[str, Any]:
        return {"order": Kind(f"SG-{ticket.body}")}

    def answer(ticket: OtherTicket) -> dict[str, str]:
        assert isinstance(ticket.order, Kind)
        return {"reply": f"refund {ticket.order.number}"}

    def answer_rudely(ticket: Ticket) -> dict[str, str]:
        return {"reply": "no"}

    before, after = desk(find, answer), desk(find_whole, answer_rudely)
    suite = tickets()
    suite = replace(suite, cases=[with_reply(case) for case in suite.cases])
    a, b = runs_of(session, suite, before, after)
    found = blame(a, b, suite, after, session, old=before)
    assert (found.verdict, found.node, found.left_out) == ("blamed", "answer", {})
    assert count_of(session, "old") == 12


def with_reply(case: Case) -> Case:
    reply: Any = {"answer": {"last": {"reply": f"refund SG-{case.input['body']}"}}}
    return replace(case, expect=replace(case.expect, nodes=reply))


@dataclass
class Numbered:
    """The same state, in which the order is a number: no recorded `Order` fits."""

    body: str
    order: int = 0
    reply: str = ""


def test_a_recorded_input_that_the_new_version_cannot_take_is_no_loss_of_its_node(session: Session) -> None:
    """B's answer is worse in B's own run, but nobody knows what it does on inputs of A."""

    def find(ticket: Numbered) -> dict[str, int]:
        return {"order": int(ticket.body)}

    def answer(ticket: Numbered) -> dict[str, str]:
        return {"reply": f"order {ticket.order}"}

    suite = tickets()
    suite = replace(suite, cases=[with_reply(case) for case in suite.cases])
    after = desk(find, answer)
    a, b = runs_of(session, suite, desk(find_whole, answer_strict), after)
    found = blame(a, b, suite, after, session)
    assert (found.verdict, found.node) == ("suspected", "answer")
    assert found.left_out == {"its input does not fit this version's state": 12}
