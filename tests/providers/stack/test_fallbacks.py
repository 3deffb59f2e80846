from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import pytest
from pydantic import BaseModel

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.providers.model import CallContext, ReplyCheck, Request
from stepgraph.providers.settings import Trigger
from stepgraph.providers.stack.fallbacks import FallbackChain, trigger_of
from stepgraph.providers.stack.journal import call_record
from stepgraph.state.errors import (
    AuthenticationFailed,
    CircuitOpen,
    ContextTooLong,
    InvalidAnswer,
    MalformedResponse,
    ModelError,
    ModelFiltered,
    ModelNotFound,
    ModelRefused,
    ModelUnavailable,
    ModelUnreachable,
)
from stepgraph.state.statuses import CallSource

from ...servers import Answer, ChatServer, Fault

HELLO = Request(({"role": "user", "content": "Hello"},))


class Grade(BaseModel):
    score: int
    confidence: float = 1.0


@dataclass
class Post:
    draft: str = ""
    grade: Grade | None = None


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask("Write.")


@step("grade")
def judge(post: Post) -> Ask[Grade]:
    return Ask("Grade.")


def refused(message: str, kind: type[ModelError] = ModelRefused) -> ScriptedModel:
    return ScriptedModel([kind(message)])


@pytest.mark.parametrize(
    ("kind", "trigger"),
    [
        (ModelUnavailable, "busy"),
        (CircuitOpen, "busy"),
        (ModelUnreachable, "unreachable"),
        (AuthenticationFailed, "denied"),
        (ModelNotFound, "denied"),
        (ModelRefused, "refused"),
        (ModelFiltered, "filtered"),
        (ContextTooLong, "too_long"),
        (MalformedResponse, "garbled"),
        (ModelError, "garbled"),
    ],
)
def test_each_error_has_its_reason(kind: type[ModelError], trigger: str) -> None:
    assert trigger_of(kind("x")) == trigger


@pytest.mark.parametrize(
    ("on", "most"),
    [
        (["busy", "unreachable", "denied", "refused", "too_long", "garbled"], 1),
        (["filtered"], 3),
        (["busy", "invalid"], 3),
        (["unsure"], 3),
    ],
)
def test_more_than_one_answer_is_paid_for_only_where_an_answer_may_not_do(
    on: list[Trigger], most: int
) -> None:
    assert FallbackChain([ScriptedModel(["ok"])] * 3, on).most_answers == most


async def test_the_next_is_asked_and_the_record_says_why(session: Session) -> None:
    models = [refused("a", ContextTooLong), refused("b", AuthenticationFailed), ScriptedModel(["third"])]
    with using(models):
        assert (await chain(write).compile().ainvoke(Post(), session.config()))["draft"] == "third"
    calls = session.journal.query("SELECT attempt, status, reason FROM calls ORDER BY attempt")
    assert [(call["attempt"], call["status"], call["reason"]) for call in calls] == [
        (1, "failed", None),
        (2, "failed", "fallback: scripted failed (ContextTooLong)"),
        (3, "answered", "fallback: scripted failed (AuthenticationFailed)"),
    ]


def attempts_of(session: Session) -> list[tuple[int, str]]:
    rows = session.journal.query("SELECT attempt, status FROM calls ORDER BY started_at, rowid")
    return [(row["attempt"], row["status"]) for row in rows]


async def test_attempts_are_counted_on_over_the_retries_of_the_one_before(
    session: Session, server: ChatServer
) -> None:
    server.will(Fault(500), Fault(500), Fault(500))
    with using([server.spec(retries=2), ScriptedModel(["ok"])]):
        await chain(write).compile().ainvoke(Post(), session.config())
    assert attempts_of(session) == [(1, "failed"), (2, "failed"), (3, "failed"), (4, "answered")]


async def test_attempts_are_counted_on_over_rejected_answers_and_a_resume(
    session: Session, server: ChatServer
) -> None:
    server.will(Answer("no JSON"), Fault(reset=True), Answer('{"score": 4}'))
    weak, strong = server.spec(model="weak", retries=0), server.spec(model="strong", retries=0)
    with using({"models": [weak, strong], "on": ["invalid"]}):
        with pytest.raises(ModelUnreachable):
            await chain(judge).compile().ainvoke(Post(), session.config("t"))
        await chain(judge).compile().ainvoke(None, session.config("t"))
    assert attempts_of(session) == [(1, "rejected"), (2, "failed"), (2, "answered")]


async def test_when_all_fail_the_error_tells_of_all() -> None:
    with (
        using([refused("a", ContextTooLong), refused("b")]),
        pytest.raises(ModelRefused, match=r"^Step 'write': b Asked before it: scripted failed \(ContextToo"),
    ):
        await write.answer(Post())


async def test_a_reason_that_is_not_named_stops(server: ChatServer) -> None:
    closed = {"base_url": server.url, "model": "served", "retries": 0}
    server.will(Answer(finish_reason="content_filter"))
    with (
        using({"models": [closed, closed], "on": ["busy"]}),
        pytest.raises(ModelFiltered, match="content filter stopped the answer"),
    ):
        await write.answer(Post())
    assert server.calls == 1


async def test_a_filtered_answer_is_paid_for_and_rejected(server: ChatServer, session: Session) -> None:
    server.will(Answer("Half of", finish_reason="content_filter"), Answer("Boil."))
    with using([server.spec(price={"input": 1, "output": 1}), server.spec(temperature=0)]):
        assert (await chain(write).compile().ainvoke(Post(), session.config()))["draft"] == "Boil."
    first, second = session.journal.query("SELECT * FROM calls ORDER BY attempt")
    assert (first["status"], first["cost_usd"]) == ("rejected", pytest.approx(120e-6))
    assert "content filter" in first["problem"]
    assert second["status"] == "answered"


async def test_an_invalid_answer_goes_on_where_the_policy_says_so(session: Session) -> None:
    small, large = ScriptedModel(["no idea"]), ScriptedModel([Grade(score=4)])
    on_device = ScriptedModel(["no idea", Grade(score=3)])
    with using([on_device, ScriptedModel([])]):
        assert (await judge.answer(Post())).score == 3  # by default the same model is asked again
    with using({"models": [small, large], "on": ["invalid"]}):
        result = await chain(judge).compile().ainvoke(Post(), session.config())
    assert result["grade"] == Grade(score=4)
    rows = session.journal.query("SELECT status, problem FROM calls ORDER BY attempt")
    assert [row["status"] for row in rows] == ["rejected", "answered"]
    assert "not valid JSON" in rows[0]["problem"]


async def test_an_unsure_answer_goes_on_below_the_floor(server: ChatServer, session: Session) -> None:
    server.will('{"score": 1, "confidence": 0.2}', '{"score": 5, "confidence": 0.1}')
    policy = {"models": [server.spec(), server.spec(temperature=0)], "min_confidence": 0.7}
    with using(policy):
        result = await chain(judge).compile().ainvoke(Post(), session.config())
    assert result["grade"].score == 5  # the last one's word counts, however sure it is
    first, second = session.journal.query("SELECT * FROM calls ORDER BY attempt")
    assert first["problem"] == "its confidence is 0.2, below 0.7"
    assert second["reason"] == "fallback: served: its confidence is 0.2, below 0.7"


async def test_a_long_wait_that_a_server_asks_for_goes_to_the_next(server: ChatServer) -> None:
    server.always = Fault(429, headers={"Retry-After": "30"})
    with using([server.spec(), ScriptedModel(["a", "b"])]):
        assert [await write.answer(Post()), await write.answer(Post())] == ["a", "b"]
    assert server.calls == 1  # the second call knows that there is no use in asking


async def test_a_busy_model_on_this_machine_is_passed_over(server: ChatServer) -> None:
    with ChatServer() as cloud:
        server.always = Answer("slow", once=lambda: cloud.calls == 3)
        cloud.always = Answer("cloud")
        with using([server.spec(max_concurrency=1, queue_s=0), cloud.spec()]):
            answers = await asyncio.gather(*(write.answer(Post()) for _ in range(4)))
    assert sorted(answers) == ["cloud", "cloud", "cloud", "slow"]


@pytest.mark.local
@pytest.mark.xdist_group("local")
async def test_this_machine_first_and_another_where_the_text_is_too_long(session: Session) -> None:
    @step("draft")
    def shorten(post: Post) -> Ask[str]:
        return Ask(f"Shorten: {post.draft}", max_tokens=8)

    app = chain(shorten).compile()
    with using(["local", ScriptedModel(["from the cloud"])]):
        short = await app.ainvoke(Post("Water boils at 100 degrees."), session.config())
        long = await app.ainvoke(Post("Water boils at 100 degrees. " * 500), session.config())
    assert short["draft"] != "from the cloud"
    assert long["draft"] == "from the cloud"
    calls = session.journal.query("SELECT status, problem, reason FROM calls ORDER BY started_at")
    assert [call["status"] for call in calls] == ["answered", "failed", "answered"]
    assert "ContextTooLong" in calls[1]["problem"]
    assert "ContextTooLong" in calls[2]["reason"]


def paid(session: Session) -> list[tuple[str, str]]:
    rows = session.journal.query("SELECT model_asked, status FROM calls ORDER BY started_at, rowid")
    return [(row["model_asked"], row["status"]) for row in rows]


@pytest.mark.parametrize("committed_only", [False, True], ids=["rejected", "killed before it was rejected"])
@pytest.mark.parametrize("first", [Answer("no JSON"), Answer("cut", finish_reason="content_filter")])
async def test_a_resume_does_not_pay_again_for_an_answer_that_would_not_do(
    session: Session, server: ChatServer, first: Answer, committed_only: bool
) -> None:
    """The first member's answer is on record; the process dies while the second one is asked."""
    good = Answer('{"score": 4}')
    server.will(first, Fault(reset=True), good)
    weak, strong = server.spec(model="weak", retries=0), server.spec(model="strong", retries=0)
    app = chain(judge).compile()
    with using({"models": [weak, strong], "on": ["invalid", "filtered"]}):
        with pytest.raises(ModelUnreachable):
            await app.ainvoke(Post(), session.config("t"))
        if committed_only:
            session.journal.write([("UPDATE calls SET status = 'answered' WHERE status = 'rejected'", ())])
        result = await app.ainvoke(None, session.config("t"))
    assert result["grade"] == Grade(score=4)
    assert [body["model"] for body in server.bodies] == ["weak", "strong", "strong"]
    assert paid(session) == [("weak", "rejected"), ("strong", "failed"), ("strong", "answered")]


async def test_after_all_answers_were_given_up_all_are_asked_anew(
    session: Session, server: ChatServer
) -> None:
    @step("grade", tries=1)
    def once(post: Post) -> Ask[Grade]:
        return Ask("Grade.")

    server.will(*["bad"] * 5, Fault(reset=True), '{"score": 1}')
    weak, strong = server.spec(model="weak", retries=0), server.spec(model="strong", retries=0)
    app = chain(once).compile()
    with using({"models": [weak, strong], "on": ["invalid"]}):
        with pytest.raises(InvalidAnswer):
            await app.ainvoke(Post(), session.config("t"))
        with pytest.raises(InvalidAnswer):
            await app.ainvoke(None, session.config("t"))
        with pytest.raises(ModelUnreachable):
            await app.ainvoke(None, session.config("t"))
        assert (await app.ainvoke(None, session.config("t")))["grade"] == Grade(score=1)
    first, second = ["weak", "strong"], ["weak", "strong"]
    interrupted = ["weak", "strong", "strong"]  # what was rejected since counts, what was before does not
    assert [body["model"] for body in server.bodies] == [*first, *second, *interrupted]


async def test_a_resume_passes_over_all_whose_answers_would_not_do(
    session: Session, server: ChatServer
) -> None:
    server.will("bad", "worse", Fault(reset=True), Fault(404), '{"score": 1}')
    models = [server.spec(model=name, retries=0) for name in ("small", "middle", "large")]
    app = chain(judge).compile()
    with using({"models": models, "on": ["invalid"]}):
        with pytest.raises(ModelUnreachable):
            await app.ainvoke(Post(), session.config("t"))
        with pytest.raises(
            ModelNotFound, match=r"Asked before it: small: .*not valid JSON.*; middle: .*not va"
        ):
            await app.ainvoke(None, session.config("t"))
        await app.ainvoke(None, session.config("t"))
    assert paid(session)[-3:] == [("large", "failed"), ("large", "failed"), ("large", "answered")]
    assert server.calls == 5
    (last,) = session.journal.query("SELECT reason FROM calls WHERE status = 'answered'")
    assert last["reason"].startswith("fallback: middle: ")


@pytest.mark.parametrize(
    ("on", "check", "is_passed_on"),
    [
        (["invalid"], ReplyCheck("no number"), True),
        (["invalid", "unsure"], ReplyCheck("no number", 0.9), True),
        (["unsure"], ReplyCheck("no number", 0.1), False),
        (["busy"], ReplyCheck("no number", 0.1), False),
        (["unsure"], ReplyCheck(None, 0.69), True),
        (["unsure"], ReplyCheck(None, 0.7), False),
        (["unsure"], ReplyCheck(None, None), False),
        (["invalid"], ReplyCheck(None, 0.1), False),
    ],
    ids=["bad", "bad and sure", "bad but unsure counts", "neither", "below", "at", "not said", "sure or not"],
)
async def test_an_answer_is_passed_on_for_the_named_reasons_only(
    on: list[Trigger], check: ReplyCheck, is_passed_on: bool
) -> None:
    models = FallbackChain([ScriptedModel(["first"]), ScriptedModel(["second"])], on, 0.7)
    reply = await models.complete(HELLO, CallContext("step", check=lambda _: check))
    assert reply.text == ("second" if is_passed_on else "first")


@pytest.mark.parametrize("on", [["busy"], ["invalid"]], ids=["no reason to look", "nothing to look with"])
async def test_an_answer_is_looked_at_only_where_that_may_be_a_reason(on: list[Trigger]) -> None:
    models = FallbackChain([ScriptedModel(["first"]), ScriptedModel(["second"])], on)
    context = CallContext("step", check=pytest.fail if on == ["busy"] else None)  # type: ignore[arg-type]
    assert (await models.complete(HELLO, context)).text == "first"


@pytest.mark.parametrize(
    ("asked", "source", "finish_reason", "doubt"),
    [
        ("weak", "model", "stop", "no number"),
        ("strong", "model", "stop", None),
        ("weak", "coalesced", "stop", None),
        ("strong", "model", "refusal", "the model refused: 'I cannot'"),
        ("weak", "cache", "refusal", "the model refused: 'I cannot'"),
    ],
    ids=["another may do better", "none is left", "another call's", "refused by the last", "refused before"],
)
def test_an_answer_right_before_a_crash_is_doubted_where_another_model_may_do_better(
    asked: str, source: CallSource, finish_reason: str, doubt: str | None
) -> None:
    weak, strong = ScriptedModel([]), ScriptedModel([])
    weak.name, strong.name = "weak", "strong"
    call = replace(
        call_record(asked, HELLO, CallContext("step"), 0.0),
        answer="I cannot",
        source=source,
        finish_reason=finish_reason,
    )
    context = CallContext("step", check=lambda reply: ReplyCheck("no number"))
    models = FallbackChain([weak, strong], ["invalid"])
    assert (models.name, models.doubt(call, context)) == ("weak", doubt)


@pytest.mark.parametrize(
    ("status", "attempts", "told"),
    [
        (None, 1, "ModelUnavailable"),
        (503, 1, "ModelUnavailable, HTTP 503"),
        (503, 2, "ModelUnavailable, HTTP 503, 2 attempts"),
    ],
    ids=["no more is known", "a status", "retried"],
)
async def test_the_last_error_tells_briefly_of_those_before(
    status: int | None, attempts: int, told: str
) -> None:
    first, last = ModelUnavailable("busy", status=status), ModelRefused("No.")
    first.attempts = attempts
    with pytest.raises(ModelRefused) as caught:
        await FallbackChain([ScriptedModel([first]), ScriptedModel([last])]).complete(
            HELLO, CallContext("step")
        )
    assert str(caught.value) == f"No. Asked before it: scripted failed ({told})."


async def test_an_error_of_the_first_tells_of_no_others() -> None:
    models = FallbackChain([ScriptedModel([ModelRefused("No.")]), ScriptedModel([])], ["busy"])
    with pytest.raises(ModelRefused, match=r"^No\.$"):
        await models.complete(HELLO, CallContext("step"))


async def test_a_chain_asks_where_nothing_names_its_calls(session: Session) -> None:
    """Such as one that stands alone, without the layer that finds calls again."""
    for context in (CallContext("step"), CallContext("step", config=session.config("t"))):
        models = FallbackChain([ScriptedModel([ModelRefused("no")]), ScriptedModel(["ok"])])
        assert (await models.complete(HELLO, context)).text == "ok"


async def test_a_filtered_answer_is_not_replayed_as_an_answer(session: Session, server: ChatServer) -> None:
    server.will(Answer("I cannot", finish_reason="refusal"), "Boil.")
    app = chain(write).compile()
    with using(server.spec()):
        with pytest.raises(ModelFiltered):
            await app.ainvoke(Post(), session.config("t"))
        session.journal.write([("UPDATE calls SET status = 'answered', problem = NULL", ())])
        assert (await app.ainvoke(None, session.config("t")))["draft"] == "Boil."
