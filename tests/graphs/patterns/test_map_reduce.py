"""Map-reduce: levels, sizes, order, failures, limits, cost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, TypedDict

import pytest
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from stepgraph import Ask, Budget, ScriptedModel, Session, chain, map_reduce, refine, rule, run, step, using
from stepgraph.nodes.costs import least, most
from stepgraph.state.errors import DefinitionError, InputError, ModelRefused

from ...simulated_time import SimulatedLoop


@dataclass
class Passage:
    text: str
    places: list[str] = field(default_factory=list)
    note: str = ""


@dataclass
class Book:
    text: str = "a b c d e f g h"
    passages: list[Passage] = field(default_factory=list)
    digest: Passage | None = None
    missing: dict[str, str] = field(default_factory=dict)


def split(book: Book) -> list[Passage]:
    return [Passage(word, [word]) for word in book.text.split()]


def together(group: list[Passage]) -> Passage:
    return Passage(" ".join(p.note for p in group), [place for p in group for place in p.places])


@step("note")
def sum_up(passage: Passage) -> Ask[str]:
    return Ask(passage.text)


def words(text: str) -> int:
    return len(text.split())


def wrap(request: Any, context: Any) -> str:
    return f"({str(request.messages[-1]['content']).replace(' ', '')})"


OPTIONS: dict[str, Any] = {"join": together, "into": "digest", "tokens": 3, "count": words}
notes = map_reduce(split, sum_up, parts="passages", **OPTIONS)


@pytest.mark.parametrize("sync", [True, False])
def test_results_are_reduced_in_levels_until_one_is_left(session: Session, sync: bool) -> None:
    app = notes.compile()
    with ScriptedModel(wrap) as model, using(model):
        config = session.config("t")
        result = app.invoke(Book(), config) if sync else asyncio.run(app.ainvoke(Book(), config))
    assert result["digest"].note == "((((a)(b)(c))((d)(e)(f))((g)(h))))"[1:-1]
    assert result["digest"].places == list("abcdefgh")
    assert [p.note for p in result["passages"]] == [f"({word})" for word in "abcdefgh"]
    assert set(result) == {"text", "passages", "digest", "missing"}
    assert len(model.asks) == 8 + 3 + 1


async def test_every_node_is_streamed(session: Session) -> None:
    with ScriptedModel(wrap) as model, using(model):
        stream = notes.compile().astream(Book("a b c d"), session.config("t"), stream_mode="updates")
        seen = [name async for update in stream for name in update]
    assert seen == ["split", *["sum_up"] * 4, "gather", "reduce", "gather", "reduce", "gather"]


def test_the_levels_are_on_record(session: Session) -> None:
    with ScriptedModel(wrap) as model, using(model):
        notes.compile().invoke(Book(), session.config("t"))
    rows = session.journal.query("SELECT choice, reason FROM decisions ORDER BY decided_at")
    assert [(row["choice"], row["reason"]) for row in rows] == [
        ("8 pieces", None),
        ("level 1", "8 results in 3 groups: 3, 3, 2"),
        ("level 2", "3 results in 1 groups: 3"),
        ("done", "2 levels of reduction"),
    ]


def test_a_result_without_a_neighbour_that_fits_is_passed_on_in_its_place() -> None:
    with ScriptedModel(wrap) as model, using(model):
        result = notes.compile().invoke(Book("a b c d"))
    assert result["digest"].note == "(((a)(b)(c))(d))"
    assert len(model.asks) == 4 + 1 + 1


@pytest.mark.parametrize(
    ("pieces", "reductions"), [(1, 0), (2, 1), (3, 1), (4, 2), (9, 4), (10, 5), (28, 14)]
)
def test_cost(pieces: int, reductions: int) -> None:
    with ScriptedModel(wrap) as model, using(model):
        notes.compile().invoke(Book("x " * pieces))
    assert len(model.asks) == pieces + reductions
    assert reductions <= max(pieces - 1, 0)
    bounded = map_reduce(split, sum_up, max_items=pieces, **OPTIONS)
    assert least(bounded.cost) <= len(model.asks) <= most(bounded.cost) == 2 * pieces - 1


def test_a_second_run_forgets_the_first(session: Session) -> None:
    app = notes.compile()
    with ScriptedModel(wrap) as model, using(model):
        app.invoke(Book(), session.config("t"))
        result = app.invoke({"text": "x y"}, session.config("t"))
    assert result["digest"].note == "((x)(y))"


def test_a_reducer_of_its_own_may_be_a_pattern(session: Session) -> None:
    @step("note")
    def combine(passage: Passage) -> Ask[str]:
        return Ask(f"Combine {passage.text}")

    @rule("text")
    def check(passage: Passage) -> str:
        return "good" if "2" in passage.note else "bad"

    better = refine(combine, check, until=lambda said: said == "good", rounds=2)
    app = map_reduce(split, sum_up, reduce=better, join=together, into="digest", tokens=1000).compile()
    script = {"sum_up": ["A", "B"], "combine": ["try 1", "try 2"]}
    with ScriptedModel(script) as model, using(model):
        result = app.invoke(Book("a b"), session.config("t"))
    assert result["digest"].note == "try 2"


def stubborn(passage: Passage) -> dict[str, str]:
    if passage.text == "b":
        raise ValueError("cannot read")
    return {"note": passage.text}


def test_a_failed_piece_is_left_out_and_named(session: Session) -> None:
    app = map_reduce(
        split, stubborn, join=together, into="digest", tokens=100, failed="skip", missing="missing"
    ).compile()
    result = app.invoke(Book("a b c"), session.config("t"))
    assert result["digest"].places == ["a", "c"]
    assert result["missing"] == {"1": "ValueError: cannot read"}


def test_a_failed_piece_fails_the_whole_by_default() -> None:
    with pytest.raises(ValueError, match="cannot read"):
        map_reduce(split, stubborn, join=together, into="digest", tokens=100).compile().invoke(Book())


@pytest.mark.parametrize("broken", ["c", "(a)(b)(c)"])
def test_after_a_failed_model_call_only_what_is_missing_is_paid_for(session: Session, broken: str) -> None:
    failing = iter([True])

    def answer(request: Any, context: Any) -> Any:
        said = wrap(request, context)
        return ModelRefused("no") if said == f"({broken})" and next(failing, False) else said

    app = notes.compile()
    with ScriptedModel(answer) as model, using(model):
        with pytest.raises(ModelRefused):
            app.invoke(Book(), session.config("t"))
        result = app.invoke(None, session.config("t"))
    assert result["digest"].places == list("abcdefgh")
    assert len(model.asks) == 12 + 1


def test_a_failed_reduction_fails_the_whole_even_where_pieces_may_fail() -> None:
    def whole(passage: Passage) -> dict[str, str]:
        raise ValueError("cannot combine")

    app = map_reduce(split, sum_up, reduce=whole, join=together, into="digest", tokens=1000, failed="skip")
    with ScriptedModel(wrap) as model, using(model), pytest.raises(ValueError, match="cannot combine"):
        app.compile().invoke(Book("a b"))


def test_when_all_pieces_fail_there_is_nothing_to_reduce() -> None:
    app = map_reduce(split, stubborn, join=together, into="digest", tokens=100, failed="skip").compile()
    with pytest.raises(InputError, match=r"None of the 2 pieces gave a result.*cannot read"):
        app.invoke(Book("b b"))


def test_a_straggler_is_left_out() -> None:
    async def wait(passage: Passage) -> dict[str, str]:
        await asyncio.sleep(30 if passage.text == "b" else 0)
        return {"note": passage.text}

    options: dict[str, Any] = {"failed": "skip", "missing": "missing", "timeout_s": 0.2}
    app = map_reduce(split, wait, join=together, into="digest", tokens=100, **options).compile()
    result = SimulatedLoop().run(app.ainvoke(Book("a b")))
    assert result["digest"].note == "a"
    assert "took longer than 0.2 s" in result["missing"]["1"]


def test_no_pieces() -> None:
    with pytest.raises(InputError, match="'split' gave no pieces"):
        notes.compile().invoke(Book(" "))


def test_a_piece_that_does_not_fit_is_named_before_anything_is_paid() -> None:
    def coarse(book: Book) -> list[Passage]:
        return [Passage("a b c"), Passage("a b c d")]

    app = map_reduce(coarse, sum_up, **OPTIONS).compile()
    with pytest.raises(InputError, match="piece 1 makes 4 tokens for 'sum_up', more than 3"):
        app.invoke(Book())


def test_results_that_do_not_fit_together() -> None:
    with (
        ScriptedModel(lambda *_: "much too long") as model,
        using(model),
        pytest.raises(InputError, match="level 1: no two of the 8 results fit into 3 tokens"),
    ):
        notes.compile().invoke(Book())


def test_the_number_of_levels_is_bounded() -> None:
    app = map_reduce(split, sum_up, levels=1, **OPTIONS).compile()
    with (
        ScriptedModel(wrap) as model,
        using(model),
        pytest.raises(InputError, match="3 results are left after 1 levels"),
    ):
        app.invoke(Book())


@pytest.mark.parametrize("levels", [3, 10])
def test_as_many_levels_as_allowed_and_ten_by_default(levels: int) -> None:
    """Two long results never fit together, so each level takes one of them into the short one."""

    def pieces(book: Book) -> list[Passage]:
        return [Passage("a"), *[Passage("b b")] * int(book.text)]

    def say(request: Any, context: Any) -> str:
        text = str(request.messages[-1]["content"])
        return "a" if "a" in text else text

    limit = {} if levels == 10 else {"levels": levels}
    app = map_reduce(pieces, sum_up, **OPTIONS, **limit).compile()
    with using(ScriptedModel(say)):
        assert app.invoke(Book(str(levels)))["digest"].note == "a"
        with pytest.raises(InputError, match=f"2 results are left after {levels} levels"):
            app.invoke(Book(str(levels + 1)))


def test_without_workers_shared_pieces_run_here(session: Session) -> None:
    app = map_reduce(split, sum_up, parts="passages", spread=2, **OPTIONS).compile()
    assert "share" in app.nodes
    assert "share" not in notes.nodes
    for text, digest in (("a b c d", "(((a)(b)(c))(d))"), ("x", "(x)")):
        with using(ScriptedModel(wrap)):
            result = app.invoke({"text": text}, session.config("t"))
        assert result["digest"].note == digest
        assert [each.note for each in result["passages"]] == [f"({word})" for word in text.split()]


def test_too_many_pieces() -> None:
    app = map_reduce(split, sum_up, max_items=2, **OPTIONS).compile()
    with pytest.raises(InputError, match="8 pieces, more than the 2"):
        app.invoke(Book())


def test_a_join_of_the_wrong_type_is_named() -> None:
    def wrong(group: list[Passage]) -> Passage:
        return "".join(p.note for p in group)  # type: ignore[return-value]

    app = map_reduce(split, sum_up, join=wrong, into="digest", tokens=100).compile()
    with (
        ScriptedModel(wrap) as model,
        using(model),
        pytest.raises(InputError, match="'wrong': item 0 is str; the worker works on Passage"),
    ):
        app.invoke(Book())


def test_a_person_is_asked_inside(session: Session) -> None:
    def approve(passage: Passage) -> dict[str, str]:
        return {"note": interrupt(passage.text)}

    app = map_reduce(split, chain(sum_up, approve), reduce=sum_up, join=together, into="digest", tokens=500)
    graph = app.compile()
    with ScriptedModel(wrap) as model, using(model):
        graph.invoke(Book("a b"), session.config("t"))
        waiting = graph.get_state(session.config("t")).interrupts
        answers = Command(resume={i.id: f"{i.value}!" for i in waiting})
        result = graph.invoke(answers, session.config("t"))
    assert result["digest"].note == "(a!b!)"
    assert len(model.asks) == 3


@pytest.mark.parametrize("calls", [3, 9])
def test_a_budget_that_ends_inside_pauses_and_goes_on(session: Session, calls: int) -> None:
    app = notes.compile()
    with ScriptedModel(wrap) as model, using(model):
        stopped = run(app, Book(), session, "t", budget=Budget(calls=calls))
        assert stopped.missing
        assert len(model.asks) == calls
        done = run(app, None, session, "t", budget=Budget())
    assert done.values["digest"].places == list("abcdefgh")
    assert len(model.asks) == 12


@dataclass
class Shelf:
    titles: list[str]
    books: list[Book] = field(default_factory=list)
    best: Book | None = None


def test_a_map_reduce_in_a_map_reduce(session: Session) -> None:
    def books(shelf: Shelf) -> list[Book]:
        return [Book(title) for title in shelf.titles]

    def bind(books: list[Book]) -> Book:
        return Book(" ".join(b.digest.note for b in books if b.digest))

    with ScriptedModel(wrap) as model, using(model):
        result = (
            map_reduce(books, notes, join=bind, into="best", tokens=1000)
            .compile()
            .invoke(Shelf(["a b", "c"]), session.config("t"))
        )
    assert result["best"].digest.note == "((((a)(b)))((c)))"


class Note(BaseModel):
    text: str
    said: str = ""


class Letter(TypedDict):
    lines: list[str]
    note: Note | None


def test_states_of_other_kinds(session: Session) -> None:
    def lines(letter: Letter) -> list[Note]:
        return [Note(text=line) for line in letter["lines"]]

    def join(group: list[Note]) -> Note:
        return Note(text="+".join(note.said for note in group))

    def shout(note: Note) -> dict[str, str]:
        return {"said": note.text.upper()}

    app = map_reduce(lines, shout, join=join, into="note", tokens=100).compile()
    result = app.invoke({"lines": ["a", "b"], "note": None}, session.config("t"))
    assert result["note"] == Note(text="A+B", said="A+B")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"into": "digests"}, "Did you mean 'digest'"),
        ({"into": "text"}, "expected Passage"),
        ({"parts": "missing"}, "expected list\\[Passage\\]"),
        ({"missing": "text"}, "expected dict\\[str, str\\]"),
        ({"tokens": 0}, "tokens=0.*at least 1"),
        ({"levels": 0}, "levels=0.*at least 1"),
        ({"max_items": 0}, "at least 1"),
        ({"timeout_s": -1}, "above 0"),
        ({"failed": "x"}, "'fail' or 'skip'"),
        ({"join": "x"}, "a function that makes one state"),
        ({"spread": 1}, "2 at least"),
    ],
)
def test_bad_options(options: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        map_reduce(split, sum_up, **{**OPTIONS, **options})


class Page(BaseModel):
    text: str
    notes: list[Note] = []
    note: Note | None = None


def test_a_pydantic_state(session: Session) -> None:
    def lines(page: Page) -> list[Note]:
        return [Note(text=line) for line in page.text.split()]

    def join(group: list[Note]) -> Note:
        return Note(text="+".join(note.said for note in group))

    @step("said")
    def echo(note: Note) -> Ask[str]:
        return Ask(note.text)

    app = map_reduce(lines, echo, join=join, into="note", parts="notes", tokens=20, count=len).compile()
    with ScriptedModel(wrap) as model, using(model):
        result = app.invoke(Page(text="a b c d"), session.config("t"))
    assert result["note"].said == "((a)+(b)+(c)+(d))"
    assert [note.said for note in result["notes"]] == ["(a)", "(b)", "(c)", "(d)"]
