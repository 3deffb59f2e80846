"""The search worker: what a model is shown, what is made of its calls, and how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepgraph import ScriptedModel, Session, using
from stepgraph.graphs.ready.code_search.graph import CALLS, TURNS, CodeQuestion, graph

QUERY = "the total price of the cart is wrong"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "cart.py").write_text(
        "class Cart:\n    def total_price(self):\n        return sum(self.prices)\n\n"
        + "\n".join(f"def helper_{n}():\n    return {n}\n" for n in range(100))
    )
    (root / "mail.py").write_text("def send():\n    pass\n")
    (tmp_path / "secret.py").write_text("KEY = 'total price'")
    (root / "link.py").symlink_to(tmp_path / "secret.py")
    return root


def run(shop: Path, answers: list[Any], *config: Any) -> tuple[dict[str, Any], list[str]]:
    with ScriptedModel(answers) as model, using(model):
        result = graph.compile().invoke(CodeQuestion(QUERY, str(shop)), *config)
    return result, [str(request.messages[-1]["content"]) for _, request in model.asks]


def call(tool: str, target: str, **more: Any) -> dict[str, Any]:
    return {"tool": tool, "target": target, **more}


RANGE = {"file": "cart.py", "start": 2, "end": 3, "reason": "sums the wrong prices"}


def test_a_few_turns_lead_to_line_ranges_with_reasons(shop: Path, session: Session) -> None:
    calls = [
        call("read", "cart.py", start=1, end=5),
        call("grep", "PRICE".lower()),
        call("outline", "mail.py"),
    ]
    result, told = run(shop, [{"calls": calls}, {"ranges": [RANGE]}], session.config("t"))
    assert (result["status"], result["files"]) == ("found", ["cart.py"])
    assert [(str(one), one.reason) for one in result["ranges"]] == [("cart.py:2-3", RANGE["reason"])]
    assert QUERY in told[0]
    assert "1-3 Cart.total_price" in told[0]
    assert "3         return sum(self.prices)" in told[1]
    assert "cart.py:2: def total_price(self):" in told[1]
    assert "1-2 send" in told[1]
    assert "KEY" not in "".join(told)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (call("read", "crt.py"), "Close to it: cart.py"),
        (call("read", "../secret.py"), "outside of the searched folder"),
        (call("read", "link.py"), "outside of the searched folder"),
        (call("read", "cart.py", start=9999), "there is no line 9999"),
        (call("grep", "def ("), "no regular expression"),
        (call("grep", "zebra"), "Nothing matches 'zebra'"),
        (call("grep", "def", under="nowhere"), "There are no files 'nowhere'"),
        (call("find", "mial.py"), "Close to it: mail.py"),
        (call("grep", "return"), "more in 1 files; give a narrower pattern"),
        (call("read", "cart.py"), "read on from line"),
    ],
)
def test_a_bad_or_a_large_call_gets_an_answer_to_act_on(shop: Path, wrong: dict[str, Any], told: str) -> None:
    _, shown = run(shop, [{"calls": [wrong]}, {"ranges": [RANGE]}])
    assert told in shown[1]
    assert len(shown[1]) < 8000


def test_lines_are_shown_once_and_calls_are_bounded(shop: Path) -> None:
    again = call("read", "cart.py", start=1, end=40)
    wider = call("read", "cart.py", start=1, end=41)
    calls = [again, wider, again, *[call("find", f"mail{n}") for n in range(CALLS)]]
    _, told = run(shop, [{"calls": calls}, {"calls": [again]}, {"ranges": [RANGE]}])
    assert "(40 of these lines were shown before.)" in told[1]
    assert "[3] The same call as [1]." in told[1]
    assert f"[{CALLS + 2}] Not made: at most {CALLS} calls" in told[1]
    assert "helper_3" not in told[2]


def test_ranges_that_are_not_there_are_corrected(shop: Path) -> None:
    wrong = {"file": "cart.py", "start": 5000, "end": 5001}
    result, told = run(shop, [{"ranges": [wrong]}, {"ranges": [RANGE]}])
    assert "has no line 5000" in told[1]
    assert [str(one) for one in result["ranges"]] == ["cart.py:2-3"]


def test_the_turns_end_with_what_was_named_so_far_or_what_code_finds(shop: Path) -> None:
    looking = [{"calls": [call("grep", f"helper_{n}")]} for n in range(TURNS)]
    result, told = run(shop, looking)
    assert "last turn" in told[-1]
    assert result["status"] == "by code"
    assert result["ranges"][0].file == "cart.py"
    named = [{**looking[0], "ranges": [RANGE]}, *looking[1:]]
    result, _ = run(shop, named)
    assert (result["status"], str(result["ranges"][0])) == ("found", "cart.py:2-3")


def test_a_resumed_search_pays_nothing_again(shop: Path, session: Session) -> None:
    script = [{"calls": [call("grep", "price")]}, ConnectionError("gone")]
    with pytest.raises(ConnectionError):
        run(shop, script, session.config("t"))
    with ScriptedModel([{"ranges": [RANGE]}]) as model, using(model):
        result = graph.compile(checkpointer=None).invoke(CodeQuestion(QUERY, str(shop)), session.config("t"))
    assert result["status"] == "found"
    assert len(model.asks) == 1
