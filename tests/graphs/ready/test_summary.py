"""The long-document summary's logic, on the scripted model; and once on the model on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepgraph import ScriptedModel, Session, using
from stepgraph.graphs.ready.summary.graph import LongDocument, SummaryPassage, cut, graph, tidy
from stepgraph.state.errors import InputError, ModelRefused

ALICE = Path(__file__).parents[3] / "examples" / "alice.txt"


def note(request: Any, context: Any) -> str:
    """Note the last words that were shown, and cite the first note and one that does not exist."""
    last = str(request.messages[-1]["content"])
    if context.step == "combine":
        return "They went on, and it all came together in the end [2] [3-5] [999]. " + "So it was. " * 12
    return " ".join(last.split()[-60:]) + "."


def test_a_book_is_read_in_two_levels_and_the_summary_cites_places_that_exist(session: Session) -> None:
    with ScriptedModel(note) as model, using(model):
        result = graph.compile().invoke(LongDocument(file=str(ALICE)), session.config("t"))
    reasons = session.journal.query("SELECT choice FROM decisions WHERE kind = 'map_reduce'")
    assert [row["choice"] for row in reasons][-3:] == ["level 1", "level 2", "done"]
    assert result["summary"] == "They went on, and it all came together in the end [2] [3-5]. So it was."
    number = len(result["passages"])
    assert [source.split()[0] for source in result["sources"]] == [f"[{n}]" for n in range(1, number + 1)]
    assert result["sources"][1].startswith("[2] CHAPTER I. Down the Rabbit-Hole, characters ")
    assert all(passage.note for passage in result["passages"])
    combined = [request for step, request in model.asks if step == "combine"]
    assert combined[0].messages[-1]["content"].count("\n[") > 2
    assert len(model.asks) == number - 1 + len(combined)  # the title page is its own note


def test_passages_lie_where_they_say() -> None:
    text = ALICE.read_text(encoding="utf-8")
    for passage in cut(LongDocument(file=str(ALICE))):
        start, end = passage.places[0].rpartition(" ")[2].split("-")
        assert text[int(start) : int(end)] == passage.text


def test_a_short_text_is_its_own_summary_and_costs_nothing() -> None:
    with ScriptedModel([]) as model, using(model):
        result = graph.compile().invoke(LongDocument(text="It rained. We stayed in."))
    assert (result["summary"], result["sources"]) == ("It rained. We stayed in.", ["[1] characters 0-24"])


def test_a_text_of_one_passage_needs_one_call() -> None:
    with ScriptedModel(["It rains."]) as model, using(model):
        result = graph.compile().invoke(LongDocument(text="It rains in the morning. " * 20))
    assert result["summary"] == "It rains."
    assert model.asks[0][0] == "take_note"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("One. Two. One.", "One. Two."),
        ("One. Two and then", "One."),
        ("No end", "No end"),
        ("It was `late.' Yes! (Or [2])", "It was `late.' Yes!"),
    ],
)
def test_what_is_said_twice_or_cut_off_is_taken_out(said: str, kept: str) -> None:
    assert tidy(SummaryPassage("", [1], [""], said)) == {"note": kept}


def test_a_model_that_fails_fails_the_run_and_a_second_run_pays_for_the_rest_only(session: Session) -> None:
    text = "# One\n\n" + "It rains. " * 40 + "\n\n# Two\n\n" + "It snows. " * 40
    failing = iter([True])

    def answer(request: Any, context: Any) -> Any:
        if "snows" in str(request.messages[-1]["content"]) and next(failing, False):
            return ModelRefused("no")
        return f"{context.step}."

    app = graph.compile()
    with ScriptedModel(answer) as model, using(model):
        with pytest.raises(ModelRefused):
            app.invoke(LongDocument(text=text), session.config("t"))
        result = app.invoke(None, session.config("t"))
    assert result["summary"] == "combine."
    assert [step for step, _ in model.asks].count("take_note") == 3


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (LongDocument(), "Give either a file or a text"),
        (LongDocument(file="x", text="y"), "Give either a file or a text"),
        (LongDocument(file="none.txt"), "none.txt cannot be read"),
        (LongDocument(text=" \n "), "'cut' gave no pieces"),
    ],
)
def test_bad_input(given: LongDocument, told: str) -> None:
    with pytest.raises(InputError, match=told):
        graph.compile().invoke(given)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_text("x" * 5_000_001)
    for name, told in (("binary", "as UTF-8 text"), ("large", "more than 5 MB"), (".", "cannot be read")):
        with pytest.raises(InputError, match=told):
            cut(LongDocument(file=str(tmp_path / name)))


@pytest.mark.local
@pytest.mark.slow
@pytest.mark.xdist_group("local")
def test_on_this_machine(session: Session) -> None:
    chapters = ALICE.read_text(encoding="utf-8")
    text = chapters[:2800] + "\n\n" + chapters[chapters.index("CHAPTER II") :][:1500]
    with using("local"):
        result = graph.compile().invoke(LongDocument(text=text), session.config("t"))
    assert len(result["sources"]) >= 3
    assert result["summary"]
    models = session.journal.query("SELECT DISTINCT model_answered FROM calls WHERE status = 'answered'")
    assert [row["model_answered"] for row in models] == ["SmolLM2-135M-Instruct.Q4_1"]
