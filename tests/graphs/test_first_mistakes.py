"""What newcomers got wrong, and the messages they get."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, refine, route, step, using
from stepgraph.state.errors import DefinitionError, ScriptError, StoreError

from ..committed import committed


@dataclass
class Note:
    text: str = ""
    problems: str = ""


@step("text")
def write(note: Note) -> Ask[str]:
    return Ask("write")


def judge(note: Note) -> dict[str, str]:
    return {"problems": "too short"}


async def slow(value: Any) -> bool:
    return True


def pick(note: Note) -> str:
    return "a"


def test_a_judge_that_returns_an_update_is_told_to_be_a_rule() -> None:
    graph = refine(write, judge, until=lambda value: not value, rounds=2).compile()
    with (
        using(ScriptedModel(["a", "b"])),
        pytest.raises(DefinitionError, match='make it a rule: @rule\\("field"\\)'),
    ):
        graph.invoke(Note())


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: refine(write, judge, until=slow, rounds=2), r"until=….*plain function"),
        (lambda: refine(write, judge, until="good", rounds=2), r"until=….*plain function"),
        (lambda: refine(write, judge, until=bool, rounds="3"), "expected a whole number"),
        (lambda: route(pick, {"a": write}, min_confidence=40), "between 0 and 1"),
        (lambda: route(pick, [write]), "branches as a mapping"),
    ],
)
def test_refused_at_definition(make: Any, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        make()


def test_a_script_that_is_one_text_is_refused() -> None:
    with pytest.raises(ScriptError, match="expected a list of answers"):
        ScriptedModel("hello")


def test_a_class_is_no_model() -> None:
    with pytest.raises(DefinitionError, match="ScriptedModel is a class"), using(ScriptedModel):  # type: ignore[arg-type]
        pass


def test_a_question_that_is_no_text_names_its_step() -> None:
    @step("text")
    def odd(note: Note) -> Ask[str]:
        return Ask(42)  # type: ignore[arg-type]

    with pytest.raises(DefinitionError, match="Step 'odd' asks int"):
        odd.ask(Note())


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM calls",
        "DROP TABLE checkpoints",
        "UPDATE runs SET status = 'x'",
        "WITH ids (id) AS (SELECT id FROM calls) DELETE FROM calls WHERE id IN (SELECT id FROM ids)",
        "with ids (id) as (values (1))\nupdate runs set status = 'x'",
        "WITH x (a) AS (VALUES ('t')) REPLACE INTO runs (thread_id) SELECT a FROM x",
        "WITH x (a) AS (VALUES ('t')) INSERT INTO runs (thread_id) SELECT a FROM x",
    ],
    ids=["delete", "drop", "update", "with delete", "with update", "with replace", "with insert"],
)
def test_the_journals_query_only_reads(session: Session, sql: str) -> None:
    with using(ScriptedModel(["a"])):
        chain(write).compile().invoke(Note(), session.config("t"))
    with pytest.raises(StoreError, match="only reads"):
        session.journal.query(sql)
    assert session.journal.query("SELECT count(*) AS n FROM calls") == [{"n": 1}]
    session.journal.end_run("t", "done")


async def test_a_finished_node_is_on_record_before_the_next_one_works(
    session: Session, tmp_path: Path
) -> None:
    seen: list[Any] = []

    def first(note: Note) -> dict[str, str]:
        return {"text": "one"}

    def second(note: Note) -> None:
        seen.extend(committed(session, "SELECT node FROM node_runs"))
        seen.extend(committed(session, "SELECT status FROM runs"))

    await chain(first, second).compile().ainvoke(Note(), session.config("t"))
    assert seen == [("first",), ("running",)]
