"""A resumed call that has an answered one's words in another order is noticed before it is paid for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, ensemble, fan_out, section, step, using, vote
from stepgraph.errors import PromptChanged, ScriptError
from stepgraph.state.journal.earlier import EarlierLife, prompt_of

TAGS = ("tea", "coffee", "milk")


@dataclass
class Order:
    tags: list[str] = field(default_factory=list)
    answer: str = ""
    items: list[Any] = field(default_factory=list)


class Life:
    """What differs between two lives of a thread: the order of a set, and whether the node dies."""

    def __init__(self) -> None:
        self.tags = list(TAGS)
        self.words = "Sort"
        self.provider = ""
        self.dies = True
        self.asked: list[str] = []

    def model(self, request: Any, text: str) -> str:
        self.asked.append(request.messages[-1]["content"])
        return "ok"


life = Life()


@step("answer")
def sort(order: Order) -> Ask[str]:
    return Ask(f"{life.words} {{{', '.join(map(repr, life.tags))}}}")


@step("answer")
def one_text(order: Order) -> Ask[str]:
    return Ask(order.answer)


async def node(order: Order) -> dict[str, Any]:
    answer = await sort.answer(order)
    if life.dies:
        raise ScriptError("died")
    return {"answer": answer}


def split(order: Order) -> list[Order]:
    return [Order(tags=["a"]), Order(tags=["b"])]


GRAPHS: dict[str, Callable[[], Any]] = {
    "node": lambda: chain(node),
    "nested": lambda: chain(chain(node)),
    "section": lambda: section({"one": node}, failed="skip"),
    "fan_out": lambda: fan_out(split, node, into="items", failed="skip"),
    "ensemble": lambda: ensemble([node, node], field="answer", into="items", score=len),
    "vote": lambda: vote(node, 3, field="answer", uncertain="none"),
}


@pytest.fixture(autouse=True)
def fresh() -> None:
    life.__init__()  # type: ignore[misc]


def lives(path: Path, graph: Any, between: Callable[[], None], **config: Any) -> dict[str, Any]:
    """Let a run die after its first answer, and go on with it in another life."""
    app = graph.compile()
    model = ScriptedModel(life.model)
    model.provider = life.provider
    with using(model):
        with Session(path) as session, pytest.raises(ScriptError, match="died"):
            app.invoke(Order(), session.config("t"))
        life.dies = False
        between()
        with Session(path) as session:
            return dict(app.invoke(None, session.config("t", **config)))


@pytest.mark.parametrize("name", GRAPHS)
def test_another_order_of_a_set_is_noticed_before_it_is_paid_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(PromptChanged, match=r"'sort'.*sorted\(\.\.\.\).*--force") as noticed:
        lives(tmp_path / "r.sqlite", GRAPHS[name](), life.tags.reverse)
    assert all("{'tea'" in prompt for prompt in life.asked)
    assert noticed.value.step == "sort"
    assert "tea" in noticed.value.before
    assert noticed.value.before != noticed.value.now


def test_the_same_order_is_replayed(tmp_path: Path) -> None:
    assert lives(tmp_path / "r.sqlite", chain(node), lambda: None)["answer"] == "ok"
    assert len(life.asked) == 1


def test_it_is_paid_for_again_on_demand(tmp_path: Path) -> None:
    out = lives(tmp_path / "r.sqlite", chain(node), life.tags.reverse, allow_changed_graph=True)
    assert (out["answer"], len(life.asked)) == ("ok", 2)


def test_other_words_may_be_asked(tmp_path: Path) -> None:
    def edit() -> None:
        life.words = "Order"
        life.tags.reverse()

    assert lives(tmp_path / "r.sqlite", chain(node), edit)["answer"] == "ok"
    assert len(life.asked) == 2


@pytest.mark.parametrize("together", [True, False])
def test_a_comparison_in_both_orders_is_two_calls(together: bool, tmp_path: Path) -> None:
    async def compare(order: Order) -> dict[str, Any]:
        texts = [Order(answer="a or b"), Order(answer="b or a")]
        if life.dies:  # only the second one is answered
            await one_text.answer(texts[1])
            raise ScriptError("died")
        if together:
            await asyncio.gather(*map(one_text.answer, texts))
        else:
            for text in reversed(texts):
                await one_text.answer(text)
        return {"answer": "ok"}

    assert lives(tmp_path / "r.sqlite", chain(compare), lambda: None)["answer"] == "ok"
    assert life.asked == ["b or a", "a or b"]


def test_it_is_noticed_whoever_answers(tmp_path: Path) -> None:
    life.provider = "openai"
    with pytest.raises(PromptChanged):
        lives(tmp_path / "runs.sqlite", chain(node), life.tags.reverse)


def test_what_belongs_to_the_model_is_no_part_of_the_question() -> None:
    asked = {"temperature": 0.5, "tools": [{"name": "look"}]}
    messages = json.dumps([{"role": "user", "content": "tea"}])
    recorded = {**asked, "settings": {"seed": 7}, "provider": "openai"}
    assert prompt_of(messages, json.dumps(recorded)) == prompt_of(messages, json.dumps(asked))
    assert prompt_of(messages, json.dumps({**asked, "dials": {"seed": 7}})) != prompt_of(
        messages, json.dumps(asked)
    )


@pytest.mark.parametrize(
    ("now", "is_told"),
    [
        ("{'tea', 'milk'}", True),
        ("{'milk', 'tea'}", False),
        ("{'milk', 'teas'}", False),
        ("{'milk', 'eat'}", False),
        ("{'milk',  'tea'}", False),
    ],
)
@pytest.mark.parametrize("known", ["", "used", "asked"])
def test_only_the_same_words_in_another_order_of_a_call_that_is_not_this_lifes_are_told(
    now: str, is_told: bool, known: str
) -> None:
    params = json.dumps({"settings": {"dial": 1}})
    before, message = (json.dumps([{"role": "user", "content": text}]) for text in ("{'milk', 'tea'}", now))
    call: Any = SimpleNamespace(id="1", request_hash="h", thread_id="t", messages=before, params=params)
    life = EarlierLife(0.0)
    if known == "used":
        life.used.add("1")
    if known == "asked":
        life.asked.add("h")
    with (
        pytest.raises(PromptChanged, match=r"'sort'.*thread 't'") if is_told and not known else nullcontext()
    ):
        life.check([call], "sort", prompt_of(message, params))
