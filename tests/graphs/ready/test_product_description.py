"""The product description's logic, on the scripted model; and once on the model on this machine."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stepgraph import ScriptedModel, Session, using
from stepgraph.graphs.ready.product_description.graph import Product, check_brand, check_text, graph
from stepgraph.state.errors import InputError, InvalidAnswer
from stepgraph.state.schema import parse_input

EXAMPLES = Path(__file__).parents[3] / "examples" / "products.jsonl"
FACTS = ["It toasts 4 slices at once.", "The crumb tray comes out for cleaning."]
TEXT = "You toast 4 slices at once with the Golden toaster. Its crumb tray comes out for cleaning."
OTHER = "With the Golden toaster you toast 4 slices at once, and its crumb tray comes out for cleaning."
GERMAN = "Mit dem Golden toaster toasten Sie 4 Scheiben auf einmal. Die Krümelschublade ist zum Reinigen da."
KEPT = [
    {"rule": 1, "kept": True, "quote": "You toast"},
    {"rule": 2, "kept": True, "quote": "comes out for cleaning"},
]
BROKEN = [KEPT[0], {"rule": 2, "kept": False, "quote": "4 slices at once"}]
STRANGE = [KEPT[0], {"rule": 2, "kept": True, "quote": "calm and factual"}]


def run(language: Any = None, **script: list[Any]) -> tuple[dict[str, Any], ScriptedModel]:
    with ScriptedModel(script) as model, using(model):
        return graph.compile().invoke(Product("Golden toaster", FACTS, language=language)), model


def test_a_good_text_is_ready_after_draft_and_brand_check() -> None:
    result, model = run(draft=[TEXT], judge_brand=[KEPT])
    assert (result["status"], result["text"], result["problems"]) == ("ready", TEXT, [])
    assert len(model.asks) == 2


def test_a_translation_comes_last() -> None:
    result, model = run("German", draft=[TEXT], judge_brand=[KEPT], translate=[GERMAN])
    assert (result["status"], result["translation"]) == ("ready", GERMAN)
    assert [step for step, _ in model.asks] == ["draft", "judge_brand", "translate"]


def test_what_code_finds_is_mended_before_the_brand_check_is_paid_for() -> None:
    result, model = run(draft=["The best toaster!", TEXT], judge_brand=[KEPT])
    assert result["status"] == "ready"
    assert "Leave out: best. Use no exclamation marks." in model.asks[1][1].messages[-1]["content"]


def test_a_text_that_code_never_passes_is_held_and_nobody_judges_it() -> None:
    result, model = run(draft=["The best."] * 3)
    assert (result["status"], len(model.asks)) == ("held", 3)
    assert "Leave out: best." in result["problems"]


def test_a_broken_rule_is_told_to_the_writer_and_judged_again() -> None:
    kept = [{**ruling, "quote": "you toast 4 slices"} for ruling in KEPT]
    result, model = run(draft=[TEXT, OTHER], judge_brand=[BROKEN, kept])
    assert (result["status"], result["text"]) == ("ready", OTHER)
    assert "The last text broke this: It is calm and factual." in model.asks[2][1].messages[-1]["content"]


def test_a_rule_that_stays_broken_holds_the_text() -> None:
    result, model = run("German", draft=[TEXT, OTHER], judge_brand=[BROKEN, [BROKEN[1]]])
    assert result["status"] == "held"
    assert '"4 slices at once" breaks the rule "It is calm and factual."' in result["problems"]
    assert "translate" not in [step for step, _ in model.asks]


def test_a_judge_that_quotes_what_is_not_there_has_not_judged() -> None:
    result, _ = run(draft=[TEXT, TEXT], judge_brand=[STRANGE, []])
    assert result["status"] == "held"
    assert len(result["problems"]) == 2
    assert "did not rule" in result["problems"][0]


def test_what_the_brand_check_mends_code_looks_at_again() -> None:
    product = parse_input(
        Product, {"name": "Golden toaster", "facts": FACTS, "text": TEXT + " Wow!", "rulings": KEPT}
    )
    assert check_brand(product) == ["Use no exclamation marks."]


def test_a_translation_is_asked_for_again_once_and_then_held() -> None:
    result, model = run("German", draft=[TEXT], judge_brand=[KEPT], translate=[TEXT, TEXT])
    assert (result["status"], result["problems"]) == ("held", ["Write German."])
    assert len(model.asks) == 4


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (TEXT.replace("Golden toaster", "toaster"), "Name the product: Golden toaster."),
        (TEXT + " It is cheap.", "Leave out: cheap."),
        (TEXT + " It weighs 3 kg.", "The facts do not say 3."),
        (TEXT + " Ask [name].", "Do not leave placeholders in brackets."),
        (f"{TEXT} {TEXT}", "Do not repeat yourself."),
        ("Golden toaster.", "Write between 60 and 500 characters."),
    ],
)
def test_checks(text: str, problem: str) -> None:
    product = Product("Golden toaster", FACTS, avoid=["cheap"], text=TEXT)
    assert check_text(product) == []
    product.text = text
    assert problem in check_text(product)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="language"):
        parse_input(Product, {"name": "Lamp", "facts": FACTS, "language": "Klingon"})


@pytest.mark.local
@pytest.mark.device
def test_on_this_machine_a_text_is_ready_only_without_problems(session: Session) -> None:
    app, config = graph.compile(), session.config("t")
    with (
        using("local"),
        suppress(InvalidAnswer),
    ):  # no answer that fits: nothing is ready
        app.invoke(Product("Golden toaster", FACTS), config)
    result = app.get_state(config).values
    status, problems = result.get("status", "new"), result.get("problems", [])
    if status == "ready":
        assert problems == check_text(Product("Golden toaster", FACTS, text=result["text"])) == []
    else:
        assert problems or status == "new"


def test_the_examples_can_be_read() -> None:
    for line in EXAMPLES.read_text(encoding="utf-8").splitlines():
        assert parse_input(Product, json.loads(line)).facts
