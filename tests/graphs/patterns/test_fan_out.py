"""The fan-out: order, failures, stragglers, nesting, limits."""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from stepgraph import Ask, ScriptedModel, Session, chain, fan_out, refine, rule, step, using
from stepgraph.state.errors import DefinitionError, InputError

from ...simulated_time import SimulatedLoop


@dataclass
class Page:
    text: str
    note: str = ""
    score: int = 0
    log: Annotated[list[str], operator.add] = field(default_factory=list)


@dataclass
class Book:
    text: str = "one two three"
    pages: list[Page] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    summary: str = ""


def split(book: Book) -> list[Page]:
    return [Page(word) for word in book.text.split()]


@step("note")
def sum_up(page: Page) -> Ask[str]:
    return Ask(f"Note on {page.text}")


@step("summary")
def merge(book: Book) -> Ask[str]:
    return Ask(" ".join(page.note for page in book.pages))


def echo(request: Any, context: Any) -> str:
    return str(request.messages[-1]["content"]).upper()


@pytest.mark.parametrize("sync", [True, False])
def test_each_item_has_a_worker_and_results_keep_their_order(session: Session, sync: bool) -> None:
    app = chain(fan_out(split, sum_up, into="pages"), merge).compile()
    with ScriptedModel(echo) as model, using(model):
        config = session.config("t")
        result = app.invoke(Book(), config) if sync else asyncio.run(app.ainvoke(Book(), config))
    assert [page.note for page in result["pages"]] == ["NOTE ON ONE", "NOTE ON TWO", "NOTE ON THREE"]
    assert result["summary"] == "NOTE ON ONE NOTE ON TWO NOTE ON THREE"
    assert len(model.asks) == 4
    assert set(result) == {"text", "pages", "missing", "summary"}


async def test_two_hundred_items() -> None:
    book = Book(" ".join(map(str, range(200))))
    with ScriptedModel(echo) as model, using(model):
        result = await fan_out(split, sum_up, into="pages").compile().ainvoke(book)
    assert [page.note for page in result["pages"]] == [f"NOTE ON {n}" for n in range(200)]


def test_no_items(session: Session) -> None:
    result = fan_out(split, sum_up, into="pages").compile().invoke(Book(""), session.config("t"))
    assert result["pages"] == []


def test_a_second_run_forgets_the_first(session: Session) -> None:
    app = fan_out(split, sum_up, into="pages").compile()
    with ScriptedModel(echo) as model, using(model):
        app.invoke(Book("a b"), session.config("t"))
        result = app.invoke({"text": "c"}, session.config("t"))
    assert [page.note for page in result["pages"]] == ["NOTE ON C"]


def grade(page: Page) -> dict[str, Any]:
    if page.text == "two":
        raise ValueError("cannot read")
    return {"score": len(page.text), "log": ["graded"]}


def test_a_failed_item_is_left_out_and_named(session: Session) -> None:
    app = fan_out(split, grade, into="pages", failed="skip", missing="missing").compile()
    result = app.invoke(Book(), session.config("t"))
    assert [(page.text, page.score, page.log) for page in result["pages"]] == [
        ("one", 3, ["graded"]),
        ("three", 5, ["graded"]),
    ]
    assert result["missing"] == {"1": "ValueError: cannot read"}


def test_without_workers_shared_items_run_here(session: Session) -> None:
    app = fan_out(split, grade, into="pages", failed="skip", missing="missing", spread=2).compile()
    assert "share" in app.nodes
    assert "share" not in fan_out(split, grade, into="pages").nodes
    for thread, text in (("a", "one two three"), ("a", "four"), ("b", "")):
        result = app.invoke({"text": text}, session.config(thread))
        scored = [page.score for page in result["pages"]]
        assert (scored, set(result["missing"])) == (
            [len(word) for word in text.split() if word != "two"],
            {"1"} if "two" in text else set(),
        )


def test_as_many_items_as_allowed() -> None:
    assert len(fan_out(split, grade, into="pages", max_items=2).compile().invoke(Book("a b"))["pages"]) == 2


def test_a_failed_item_fails_the_whole_by_default() -> None:
    with pytest.raises(ValueError, match="cannot read"):
        fan_out(split, grade, into="pages").compile().invoke(Book())


async def wait(page: Page) -> dict[str, str]:
    if page.text == "two":
        await asyncio.sleep(30)
    return {"note": "quick"}


def test_a_straggler_is_left_out() -> None:
    app = fan_out(split, wait, into="pages", timeout_s=3, failed="skip", missing="missing").compile()
    result = SimulatedLoop().run(app.ainvoke(Book()))
    assert [page.text for page in result["pages"]] == ["one", "three"]
    assert "Item 1 of 'wait' took longer than 3 s" in result["missing"]["1"]


def test_workers_are_patterns(session: Session) -> None:
    @rule("score")
    def judge(page: Page) -> int:
        return len(page.note)

    worker = refine(sum_up, judge, until=lambda score: score > 5, rounds=3)
    app = fan_out(split, chain(worker, grade), into="pages", failed="skip").compile()
    with ScriptedModel(echo) as model, using(model):
        result = app.invoke(Book("one three"), session.config("t"))
    assert [(p.note, p.score, p.log) for p in result["pages"]] == [
        ("NOTE ON ONE", 3, ["graded"]),
        ("NOTE ON THREE", 5, ["graded"]),
    ]


@dataclass
class Shelf:
    titles: list[str]
    books: list[Book] = field(default_factory=list)


def test_a_fan_out_in_a_fan_out(session: Session) -> None:
    def books(shelf: Shelf) -> list[Book]:
        return [Book(title) for title in shelf.titles]

    inner = chain(fan_out(split, sum_up, into="pages"), merge)
    with ScriptedModel(echo) as model, using(model):
        result = (
            fan_out(books, inner, into="books").compile().invoke(Shelf(["a b", "c"]), session.config("t"))
        )
    assert [book.summary for book in result["books"]] == ["NOTE ON A NOTE ON B", "NOTE ON C"]


def test_a_person_is_asked_for_every_item(session: Session) -> None:
    def approve(page: Page) -> dict[str, str]:
        return {"note": interrupt(page.text)}

    app = fan_out(split, chain(sum_up, approve), into="pages").compile()
    with ScriptedModel(echo) as model, using(model):
        app.invoke(Book(), session.config("t"))
        waiting = app.get_state(session.config("t")).interrupts
        assert sorted(i.value for i in waiting) == ["one", "three", "two"]
        answers = Command(resume={i.id: f"{i.value}!" for i in waiting})
        result = app.invoke(answers, session.config("t"))
    assert [page.note for page in result["pages"]] == ["one!", "two!", "three!"]
    assert len(model.asks) == 3


class Item(BaseModel):
    name: str
    price: int = 0


class Cart(TypedDict):
    names: list[str]
    items: list[Item]


def test_items_of_other_kinds(session: Session) -> None:
    def items(cart: Cart) -> list[Item]:
        return [Item(name=name) for name in cart["names"]]

    def price(item: Item) -> dict[str, int]:
        return {"price": len(item.name)}

    app = fan_out(items, price, into="items").compile()
    result = app.invoke({"names": ["tea", "milk"], "items": []}, session.config("t"))
    assert result["items"] == [Item(name="tea", price=3), Item(name="milk", price=4)]


class Line(TypedDict, total=False):
    text: str
    note: str


class Poem(TypedDict):
    text: str
    lines: list[Line]


def test_typed_dicts(session: Session) -> None:
    def lines(poem: Poem) -> list[Line]:
        return [{"text": text} for text in poem["text"].split()]

    def mark(line: Line) -> dict[str, str]:
        return {"note": line["text"] + "!"}

    app = fan_out(lines, mark, into="lines").compile()
    result = app.invoke({"text": "a b", "lines": []}, session.config("t"))
    assert result["lines"] == [{"text": "a", "note": "a!"}, {"text": "b", "note": "b!"}]


class Topic(BaseModel):
    title: str
    text: str = ""


class Essay(BaseModel):
    subject: str
    topics: list[Topic] = []


def test_a_model_makes_the_list(session: Session) -> None:
    @step("topics")
    def plan(essay: Essay) -> Ask[list[Topic]]:
        return Ask(f"Topics of {essay.subject}")

    @step("text")
    def write(topic: Topic) -> Ask[str]:
        return Ask(topic.title)

    app = fan_out(plan, write, into="topics").compile()
    with (
        ScriptedModel({"plan": [[{"title": "x"}, {"title": "y"}]], "write": ["X", "Y"]}) as model,
        using(model),
    ):
        result = app.invoke(Essay(subject="z"), session.config("t"))
    assert sorted(topic.text for topic in result["topics"]) == ["X", "Y"]


def test_too_many_items() -> None:
    app = fan_out(split, sum_up, into="pages", max_items=2).compile()
    with pytest.raises(InputError, match="3 items, more than the 2"):
        app.invoke(Book())


def test_items_of_the_wrong_type() -> None:
    def words(book: Book) -> list[Page]:
        return book.text.split()  # type: ignore[return-value]

    with pytest.raises(InputError, match="item 0 is str; the worker works on Page"):
        fan_out(words, sum_up, into="pages").compile().invoke(Book())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"into": "page"}, "Did you mean 'pages'"),
        ({"into": "summary"}, "expected list\\[Page\\]"),
        ({"into": "pages", "missing": "summary"}, "expected dict\\[str, str\\]"),
        ({"into": "pages", "max_items": 0}, "at least 1"),
        ({"into": "pages", "timeout_s": -1}, "above 0"),
        ({"into": "pages", "failed": "x"}, "'fail' or 'skip'"),
        ({"into": "pages", "spread": 1}, "2 at least"),
    ],
)
def test_bad_options(options: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        fan_out(split, sum_up, **options)
