"""Replays of a changed graph, state type, model or record, and which runs are chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

from stepgraph import (
    Ask,
    ScriptedModel,
    Session,
    chain,
    effect,
    step,
    using,
)
from stepgraph.errors import InputError, InvalidAnswer, UnboundRole
from stepgraph.evals.replays.replay import replay
from stepgraph.evals.replays.selection import parse_selection
from stepgraph.nodes.passages import Passage
from stepgraph.runners.run import resume, run
from stepgraph.tracing.forks.fork import fork

from .mail_desk import WORLD, Mail, answers, desk, record, replayed


@dataclass
class Sized:
    body: bytes
    size: int = 0


def test_answers_that_did_not_fit_and_files_are_given_again(session: Session) -> None:
    @step("size")
    def measure(sized: Sized) -> Ask[int]:
        return Ask(f"How many of {sized.body!r:.20}?")

    graph = chain(measure, name="sizes").compile()
    with using(ScriptedModel(["many", 3, "many", "many", "many"])):
        run(graph, Sized(b"\x89\xff" * 50_000), session, "mended")
        with pytest.raises(InvalidAnswer):
            run(graph, Sized(b"\x89"), session, "not mended")
    for _ in range(2):  # what failed then has failed for good, and is not asked again
        report = replayed(session, graph, "graph=sizes")
        assert report.paid.calls == 0
        assert [(case.what, case.departure) for case in report.cases] == [((), None)] * 2
        assert [case.replayed.spent.cost.calls for case in report.cases] == [2, 3]


def test_a_prompt_with_a_clock_in_it_is_told(session: Session) -> None:
    record(session, "a", graph=desk(clock=True))
    report = replayed(session, desk(clock=True), dry_run=True)
    (case,) = report.cases
    assert case.departure is not None
    assert case.departure.node == "classify"
    assert case.cut
    assert report.paid.calls == 0
    assert report.complete
    assert "dry run" in str(case.stopped)


def test_forks_are_left_out_unless_they_are_asked_for(session: Session) -> None:
    record(session, "a")
    fork(session, "a", call="classify", answer="another", new_thread="b")
    with using(answers("old")):
        result = resume(desk(), session, "b")
        if result.waiting:
            resume(desk(), session, "b", answer="approve")
    WORLD.clear()
    report = replayed(session, desk())
    assert [case.origin for case in report.cases] == ["a"]
    assert "1 are forks" in report.plan.left_out[0]
    report = replayed(session, desk(), "thread=b")
    (case,) = report.cases
    assert case.what == ()
    assert report.paid.calls == 0
    assert case.replayed.values["kind"] == "another"


def test_a_conversation_is_replayed_turn_by_turn(session: Session) -> None:
    @step("reply")
    def say(mail: Mail) -> Ask[str]:
        return Ask(f"{mail.body} after {mail.reply}")

    graph = chain(say, name="talk").compile()
    with using(answers("old")):
        for body in ("one", "two", "two"):
            run(graph, {"body": body}, session, "a")
    report = replayed(session, graph, "graph=talk")
    assert report.cases[0].what == ()
    assert report.paid.calls == 0
    assert session.journal.query(
        "SELECT max(trace) AS n FROM invocations WHERE thread_id = ?", (report.cases[0].thread,)
    ) == [{"n": 2}]


@dataclass
class Letter:
    """The mail's state by another name, with a field more and without one."""

    body: str
    kind: str = ""
    votes: str | None = None
    passages: list[Passage] = field(default_factory=list)
    reply: str = ""
    note: str = ""
    sent: str = ""
    tone: str = "kind"


def test_another_name_and_another_state_type_find_the_same_answers(session: Session) -> None:
    @step("kind")
    def classify(mail: Mail) -> Ask[str]:
        return Ask(f"Which kind: {mail.body}")

    @step("kind")
    def sort(letter: Letter) -> Ask[str]:
        return Ask(f"Which kind: {letter.body}")

    @effect
    def post(mail: Mail) -> dict[str, str]:
        WORLD.append("sent")
        return {"sent": "yes"}

    def post_letter(letter: Letter) -> dict[str, str]:
        WORLD.append("sent")
        return {"sent": "yes"}

    post_letter.__name__ = "post"
    with using(answers("old")):
        run(chain(classify, post, name="old").compile(), Mail("tea"), session, "a")
    WORLD.clear()
    report = replayed(session, chain(sort, effect(post_letter), name="new").compile(), "graph=old")
    (case,) = report.cases
    assert report.paid.calls == 0
    assert WORLD == []
    assert case.differs == {}
    assert case.stopped is None


def test_an_input_that_does_not_fit_is_told_before_anything_is_paid(session: Session) -> None:
    @dataclass
    class Other:
        number: int
        reply: str = ""

    @step("reply")
    def say(other: Other) -> Ask[str]:
        return Ask(str(other.number))

    record(session, "a")
    with pytest.raises(InputError, match=r"None of the 1 runs can be replayed. a: .*'body'"):
        replay(chain(say, name="x").compile(), session, "graph=desk")


def test_what_was_missing_here_is_no_result_of_a_run(session: Session) -> None:
    record(session, "a")
    with pytest.raises(UnboundRole):
        replay(desk(), session, "graph=desk", run="mine")
    assert replayed(session, desk(), run="mine").cases[0].replayed.status == "done"


def test_other_models_are_another_replay_wherever_they_are_bound(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record(session, "a")
    names = []
    for model in ("ollama:one", "ollama:two", "ollama:one"):
        monkeypatch.setenv("STEPGRAPH_MODEL", model)
        names.append(replay(desk(), session, "graph=desk", dry_run=True).plan.name)
    assert names[0] == names[2] != names[1]
    monkeypatch.setenv("STEPGRAPH_MODEL", "ollama:two")
    with pytest.raises(InputError, match="begun with other models"):
        replay(desk(), session, "graph=desk", dry_run=True, run=names[0])


def test_a_date_is_a_whole_day_of_this_machine() -> None:
    (_, since), (_, until) = parse_selection("since 2026-03-01 until 2026-03-01").conditions
    assert (since, until) == (datetime(2026, 3, 1).timestamp(), datetime(2026, 3, 2).timestamp())  # noqa: DTZ001
    with pytest.raises(InputError, match="expected an age"):
        parse_selection("until 9999-12-31")


def test_replays_are_no_runs_that_can_be_chosen(session: Session) -> None:
    record(session, "a")
    replayed(session, desk(), reference="desk.py:new")
    with pytest.raises(InputError, match=r"The record knows desk\. Did you mean 'desk'"):
        replayed(session, desk(), "graph=dsk")


def test_the_cohort_is_drawn_by_the_seed_and_stays(session: Session) -> None:
    @step("reply")
    def say(mail: Mail) -> Ask[str]:
        return Ask(mail.body)

    graph = chain(say, name="short").compile()
    with using(answers("old")):
        for number in range(12):
            run(graph, Mail(f"m{number}"), session, f"t{number:02}")
    drawn = [
        [c.origin for c in replayed(session, graph, "graph=short limit 4", seed=s).cases] for s in (1, 2, 1)
    ]
    assert drawn[0] == drawn[2] != drawn[1]
    assert all(len(cases) == 4 for cases in drawn)
    replayed(session, graph, "graph=short limit 4", run="mine", seed=1)
    with pytest.raises(InputError, match="another seed"):
        replayed(session, graph, "graph=short limit 4", run="mine", seed=2)
