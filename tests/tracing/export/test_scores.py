"""Scores of people and evaluations: on record, and at the node's observation in Langfuse."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.state.errors import InputError
from stepgraph.tracing.export.outbox import push
from stepgraph.tracing.export.scores import score

from ..receivers import Receiver


@dataclass
class Post:
    draft: str = ""


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask("Write")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_a_score_reaches_the_nodes_observation_once(session: Session, receiver: Receiver) -> None:
    with using(ScriptedModel(["x"])):
        chain(write).compile().invoke(Post(), session.config("t"))
    push(session, [receiver.langfuse()])
    score(session, "t", "helpful", 0.5, node="write", comment="by ada@example.org")
    score(session, "t", "verdict", "good")
    for _ in range(2):
        push(session, [receiver.langfuse()])
    node = next(span for span in receiver.spans if span.name == "write" and span.kind != 3)
    first, second = receiver.scores
    assert first["observationId"] == node.span_id.hex()
    assert first["traceId"] == second["traceId"] == node.trace_id.hex()
    assert (first["value"], first["dataType"], first["comment"]) == (0.5, "NUMERIC", "by [email]")
    assert (second["value"], second["dataType"]) == ("good", "CATEGORICAL")
    assert "observationId" not in second


def test_an_unknown_node_is_told_with_the_nearest(session: Session) -> None:
    with using(ScriptedModel(["x"])):
        chain(write).compile().invoke(Post(), session.config("t"))
    with pytest.raises(InputError, match="Did you mean 'write'"):
        score(session, "t", "helpful", 1, node="wrote")


def test_a_score_that_langfuse_rejects_holds_up_no_other(session: Session, receiver: Receiver) -> None:
    with using(ScriptedModel(["x"])):
        chain(write).compile().invoke(Post(), session.config("t"))
    for name in ("helpful", "forbidden", "short"):
        score(session, "t", name, 1)
    receiver.bad_scores = {"forbidden"}
    (pushed,) = push(session, [receiver.langfuse()])
    assert pushed.refused == 1
    ids = {told["id"] for told in receiver.scores}
    (again,) = push(session, [receiver.langfuse()])
    assert again.refused == 1
    assert {told["id"] for told in receiver.scores} == ids, "sent again under the same ids"
    assert [told["name"] for told in receiver.scores].count("helpful") == 2  # with the others, then alone


@pytest.mark.parametrize("status", [401, 404, 500])
def test_scores_wait_while_langfuse_is_away(session: Session, receiver: Receiver, status: int) -> None:
    with using(ScriptedModel(["x"])):
        chain(write).compile().invoke(Post(), session.config("t"))
    push(session, [receiver.langfuse()])
    score(session, "t", "helpful", 1)
    receiver.status = status
    (pushed,) = push(session, [receiver.langfuse()])
    assert str(status) in str(pushed.problem)
    receiver.status = 200
    (pushed,) = push(session, [receiver.langfuse()])
    assert pushed.arrived == 1
    assert [told["name"] for told in receiver.scores] == ["helpful"]


def test_without_the_sdk_spans_arrive_and_scores_wait(
    session: Session, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with using(ScriptedModel(["x"])):
        chain(write).compile().invoke(Post(), session.config("t"))
    score(session, "t", "helpful", 1)
    with monkeypatch.context() as missing:
        missing.setitem(sys.modules, "langfuse", None)
        (pushed,) = push(session, [receiver.langfuse()])
    assert (pushed.arrived, pushed.refused) == (3, 1)
    assert "pip install 'stepgraph[langfuse]'" in str(pushed.problem)
    (pushed,) = push(session, [receiver.langfuse()])
    assert (pushed.arrived, pushed.refused) == (1, 0)
