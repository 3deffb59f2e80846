from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel, Field

from stepgraph import (
    Ask,
    ScriptedModel,
    Session,
    Verdict,
    chain,
    gate,
    refine,
    review,
    route,
    section,
    step,
    using,
)
from stepgraph.state.errors import DefinitionError, GateFailed, InputError, Rejected
from stepgraph.tracing.record.pending import read_waiting


class Offer(BaseModel):
    price: float = Field(gt=0)
    note: str = ""


@dataclass
class Post:
    topic: str = "tea"
    draft: str = "A draft."
    why: str = ""
    offer: Offer | None = None
    status: Literal["", "sent", "parked"] = ""
    log: Annotated[list[str], operator.add] = field(default_factory=list)


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write on {post.topic}. Fix: {post.why or 'nothing'}")


@review("draft")
def look(post: Post) -> str:
    return f"Publish this on {post.topic}?"


@review("draft", reason="why")
def look_and_tell(post: Post) -> str:
    return "Good?"


@review("offer")
def price(post: Post) -> str:
    return "A fair price?"


def send(post: Post) -> dict[str, str]:
    return {"status": "sent"}


def park(post: Post) -> dict[str, str]:
    return {"status": "parked"}


APPROVE = {"decision": "approve", "by": "ada"}
REJECT = {"decision": "reject", "reason": "too long", "by": "ada"}
EDIT = {"decision": "edit", "value": "Mine.", "by": "ada"}


def asked(result: dict[str, Any]) -> dict[str, Any]:
    (item,) = result["__interrupt__"]
    value: dict[str, Any] = item.value
    return value


def decisions(session: Session) -> list[tuple[Any, ...]]:
    rows = session.journal.query("SELECT kind, choice, reason FROM decisions ORDER BY id")
    return [tuple(row.values()) for row in rows]


def test_the_question_says_what_is_reviewed_and_what_an_edit_looks_like(session: Session) -> None:
    app = chain(price).compile()
    question = asked(app.invoke(Post(offer=Offer(price=3)), session.config("t")))
    schema = question.pop("schema")
    assert question == {
        "kind": "stepgraph_review",
        "review": "price",
        "question": "A fair price?",
        "field": "offer",
        "value": {"price": 3.0, "note": ""},
        "decisions": ["approve", "reject", "edit"],
        "path": "price",
    }
    assert schema["$defs"]["Offer"]["properties"]["price"]["exclusiveMinimum"] == 0


@pytest.mark.parametrize(
    ("answer", "draft", "decision"),
    [
        (APPROVE, "A draft.", ("review", "approved", "by ada")),
        (True, "A draft.", ("review", "approved", None)),
        ("approve", "A draft.", ("review", "approved", None)),
        (EDIT, "Mine.", ("review", "edited", "edited by ada")),
        ({**EDIT, "reason": "a typo"}, "Mine.", ("review", "edited", "edited by ada: a typo")),
    ],
)
def test_what_is_approved_or_edited_passes(
    session: Session, answer: Any, draft: str, decision: tuple[Any, ...]
) -> None:
    app = chain(look, send).compile()
    app.invoke(Post(), session.config("t"))
    result = app.invoke(Command(resume=answer), session.config("t"))
    assert (result["draft"], result["status"]) == (draft, "sent")
    assert decisions(session) == [decision]


async def test_a_rejection_stops_with_who_and_why(session: Session) -> None:
    app = chain(look, send).compile()
    await app.ainvoke(Post(), session.config("t"))
    with pytest.raises(Rejected, match=r"draft was rejected by ada \(too long\)") as caught:
        await app.ainvoke(Command(resume=REJECT), session.config("t"))
    assert (caught.value.by, caught.value.reason, caught.value.step) == ("ada", "too long", "look")
    assert caught.value.output["draft"] == "A draft."
    assert decisions(session) == [("review", "rejected", "by ada: too long")]


def test_a_rejection_can_be_written_to_a_field(session: Session) -> None:
    app = chain(look_and_tell, send).compile()
    app.invoke(Post(), session.config("t"))
    assert app.invoke(Command(resume=REJECT), session.config("t"))["why"] == "too long"
    app.invoke(Post(why="from before"), session.config("u"))
    assert app.invoke(Command(resume=APPROVE), session.config("u"))["why"] == ""


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("maybe", "answer.decision: Input should be 'approve', 'reject' or 'edit', got 'maybe'"),
        (7, "expected a decision, one of approve, reject, edit, got 7."),
        ({"decision": "reject"}, "a rejection needs a reason."),
        (False, "a rejection needs a reason."),
        ({"decision": "edit"}, "an edit needs a value."),
        ({"decision": "approve", "value": 1}, "only an edit has a value."),
        ({"decision": "approve", "valeu": 1}, "answer.valeu: Extra inputs are not permitted"),
        ({"decision": "edit", "value": {"price": -1}}, "offer.price: Input should be greater than 0"),
        ({"decision": "edit", "value": "much"}, "offer"),
    ],
)
def test_an_answer_that_cannot_be_taken_is_asked_again_and_nothing_is_lost(
    session: Session, answer: Any, problem: str
) -> None:
    app = chain(write, price, send).compile()
    with ScriptedModel(["Written."]) as model, using(model):
        app.invoke(Post(offer=Offer(price=3)), session.config("t"))
        for _ in range(2):
            question = asked(app.invoke(Command(resume=answer), session.config("t")))
            assert problem in question["problem"]
        edit = {"decision": "edit", "value": {"price": 5}}
        result = app.invoke(Command(resume=edit), session.config("t"))
    assert (result["offer"], result["draft"], result["status"]) == (Offer(price=5), "Written.", "sent")


def test_a_route_decides_by_the_verdict(session: Session) -> None:
    app = route(look, {"approved": send, "rejected": park}).compile()
    app.invoke(Post(), session.config("t"))
    assert app.invoke(Command(resume=REJECT), session.config("t"))["status"] == "parked"
    app.invoke(Post(), session.config("u"))
    result = app.invoke(Command(resume=EDIT), session.config("u"))
    assert (result["draft"], result["status"]) == ("Mine.", "sent")
    assert decisions(session) == [
        ("route", "rejected", "by ada: too long"),
        ("route", "approved", "edited by ada"),
    ]


def test_a_person_is_the_judge_of_a_refine_loop(session: Session) -> None:
    loop = refine(write, look_and_tell, until=lambda verdict: verdict.approved, rounds=3).compile()
    with ScriptedModel(["One.", "Two."]) as model, using(model):
        assert asked(loop.invoke(Post(), session.config("t")))["value"] == "One."
        assert asked(loop.invoke(Command(resume=REJECT), session.config("t")))["value"] == "Two."
        result = loop.invoke(Command(resume=EDIT), session.config("t"))
    assert (result["draft"], result["why"]) == ("Mine.", "")
    assert model.asks[1][1].messages[-1]["content"] == "Write on tea. Fix: too long"


def test_a_gate_decides_by_the_verdict(session: Session) -> None:
    app = chain(gate(look, lambda verdict: verdict.approved or verdict.comment), send).compile()
    app.invoke(Post(), session.config("t"))
    with pytest.raises(GateFailed, match="too long"):
        app.invoke(Command(resume=REJECT), session.config("t"))
    assert decisions(session) == [("gate", "stopped", "too long")]


@pytest.fixture
def both() -> Any:
    return chain(section({"words": look, "money": price}), send, name="both").compile()


async def test_several_reviews_wait_on_one_thread_and_are_answered_one_by_one(
    session: Session, both: Any
) -> None:
    await both.ainvoke(Post(), session.config("t"))
    waiting = {item.name: item for item in read_waiting(session)}
    assert waiting.keys() == {"words", "money"}

    edit = {"decision": "edit", "value": {"price": 9}}
    left = asked(await both.ainvoke(Command(resume={waiting["money"].id: edit}), session.config("t")))
    assert left["review"] == "look"
    assert [item.name for item in read_waiting(session)] == ["words"]

    result = await both.ainvoke(Command(resume={waiting["words"].id: EDIT}), session.config("t"))
    assert (result["draft"], result["offer"], result["status"]) == ("Mine.", Offer(price=9), "sent")
    assert read_waiting(session) == []


def test_all_at_once_can_be_answered_too(session: Session, both: Any) -> None:
    found = both.invoke(Post(), session.config("t"))["__interrupt__"]
    result = both.invoke(Command(resume={item.id: APPROVE for item in found}), session.config("t"))
    assert result["status"] == "sent"


async def test_it_waits_deep_inside_other_patterns(session: Session) -> None:
    inner = refine(write, look, until=lambda verdict: verdict.approved, rounds=2)
    app = chain(section({"a": chain(inner)}), send).compile()
    with ScriptedModel(["One."]) as model, using(model):
        place = "section_a/a/refine_write/look"
        assert asked(await app.ainvoke(Post(), session.config("t")))["path"] == place
        (item,) = read_waiting(session)
        assert (item.path, item.thread_id) == (place, "t")
        assert (await app.ainvoke(Command(resume=APPROVE), session.config("t")))["status"] == "sent"


async def test_streaming_shows_the_question_and_goes_on(session: Session) -> None:
    app = chain(look, send).compile()
    seen = [chunk async for chunk in app.astream(Post(), session.config("t"), stream_mode="updates")]
    assert seen[0]["__interrupt__"][0].value["question"] == "Publish this on tea?"
    after = [
        chunk async for chunk in app.astream(Command(resume=EDIT), session.config("t"), stream_mode="updates")
    ]
    assert after == [{"look": {"draft": "Mine."}}, {"send": {"status": "sent"}}]


def test_any_checkpointer_will_do_and_none_is_told() -> None:
    app = chain(look, send).compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    app.invoke(Post(), config)
    assert app.invoke(Command(resume=True), config)["status"] == "sent"
    with pytest.raises(InputError, match="give it a session"):
        chain(look).compile().invoke(Post())


class News(TypedDict, total=False):
    title: str


@review("title")
def headline(news: News) -> str:
    return "Good?"


def test_a_typed_dict_is_reviewed_too(session: Session) -> None:
    app = chain(headline).compile()
    app.invoke({"title": "Rain"}, session.config("t"))
    assert app.invoke(Command(resume={"decision": "edit", "value": "Sun"}), session.config("t")) == {
        "title": "Sun"
    }


def test_the_word_of_a_person_is_tested_without_a_run() -> None:
    assert look.read(EDIT) == Verdict(
        label="approved", by="ada", reason="edited by ada", edited=True, value="Mine."
    )
    assert look.question(Post())["question"] == "Publish this on tea?"


def test_a_review_that_cannot_work_is_refused() -> None:
    with pytest.raises(DefinitionError, match="needs the field"):
        review(send)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="Did you mean 'draft'"):

        @review("darft")
        def misspelt(post: Post) -> str:
            return ""

    with pytest.raises(DefinitionError, match="has a reducer"):

        @review("log")
        def merged(post: Post) -> str:
            return ""

    with pytest.raises(DefinitionError, match="must be text"):

        @review("draft", reason="offer")
        def no_text(post: Post) -> str:
            return ""

    with pytest.raises(DefinitionError, match="async"):

        @review("draft")  # type: ignore[arg-type]
        async def later(post: Post) -> str:
            return ""
