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


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400])
def test_a_number_that_cannot_be_sent_is_told_at_once_and_holds_up_no_other(
    value: float, session: Session, receiver: Receiver
) -> None:
    with using(ScriptedModel(["x"])):
        chain(write).compile().invoke(Post(), session.config("t"))
    with pytest.raises(InputError, match="a number that can be compared"):
        score(session, "t", "helpful", value)
    ids = [score(session, "t", name, 0.5) for name in ("older", "good")]
    # What an earlier version took, as a database can keep it.
    session.journal.write([("UPDATE scores SET value = ? WHERE id = ?", (float("inf"), ids[0]))])
    receiver.takes = {dict}
    (pushed,) = push(session, [receiver.langfuse()])
    assert (pushed.refused, pushed.waits) == (1, False)
    assert [told["name"] for told in receiver.scores] == ["good"]


@pytest.mark.parametrize("form", [list, dict], ids=["a list", "one object"])
def test_a_score_that_langfuse_rejects_holds_up_no_other(
    form: type, session: Session, receiver: Receiver
) -> None:
    with using(ScriptedModel(["x"])):
        chain(write).compile().invoke(Post(), session.config("t"))
    for name in ("helpful", "forbidden", "short"):
        score(session, "t", name, 1)
    receiver.bad_scores, receiver.takes = {"forbidden"}, {form}
    (pushed,) = push(session, [receiver.langfuse()])
    assert (pushed.refused, pushed.waits) == (1, False)
    assert "refused the score 'forbidden' of the thread 't'" in str(pushed.problem)
    assert "forbidden fits no config" in str(pushed.problem)
    assert {"helpful", "short"} <= {told["name"] for told in receiver.scores}
    requests, refused = len(receiver.requests), len(receiver.refused)
    (again,) = push(session, [receiver.langfuse()])
    assert (again.arrived, again.refused, again.problem) == (0, 0, None), "it would be refused each time"
    assert (len(receiver.requests), len(receiver.refused)) == (requests, refused)


@pytest.mark.parametrize("number", [1, 3])
def test_a_server_that_takes_one_score_a_request_gets_them_so(
    number: int, session: Session, receiver: Receiver
) -> None:
    with using(ScriptedModel(["x"])):
        chain(write).compile().invoke(Post(), session.config("t"))
    destination, receiver.takes = receiver.langfuse(), {dict}
    for turn in range(2):
        for each in range(number):
            score(session, "t", f"s{turn}{each}", each)
        (pushed,) = push(session, [destination])
        assert (pushed.refused, pushed.problem) == (0, None)
    assert sorted(told["name"] for told in receiver.scores) == [
        f"s{r}{n}" for r in "01" for n in range(number)
    ]
    assert len(receiver.refused) == 1, "a list is tried once"


def test_what_is_true_or_false_is_told_as_such(session: Session, receiver: Receiver) -> None:
    with using(ScriptedModel(["x"])):
        chain(write).compile().invoke(Post(), session.config("t"))
    for name, value in {"good": True, "bad": False, "one": 1, "word": "true"}.items():
        score(session, "t", name, value)
    push(session, [receiver.langfuse()])
    assert {told["name"]: (told["value"], told["dataType"]) for told in receiver.scores} == {
        "good": (1, "BOOLEAN"),
        "bad": (0, "BOOLEAN"),
        "one": (1, "NUMERIC"),
        "word": ("true", "CATEGORICAL"),
    }


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
