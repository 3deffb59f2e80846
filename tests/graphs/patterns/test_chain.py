from __future__ import annotations

from dataclasses import dataclass

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, gate, step, using
from stepgraph.state.errors import DefinitionError, GateFailed


@dataclass
class Post:
    topic: str
    outline: str = ""
    draft: str = ""


@dataclass
class Letter:
    draft: str = ""


@step("outline")
def plan(post: Post) -> Ask[str]:
    return Ask(f"Outline {post.topic}")


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write {post.outline}{post.draft}")


@step("draft")
def sign(letter: Letter) -> Ask[str]:
    return Ask("Sign.")


async def test_each_part_sees_what_the_one_before_it_wrote() -> None:
    with ScriptedModel(["1. Boil", "Boil water."]) as model, using(model):
        result = await chain(plan, write).compile().ainvoke(Post("tea"))
    assert result == {"topic": "tea", "outline": "1. Boil", "draft": "Boil water."}
    assert [r.messages[0]["content"] for _, r in model.asks] == ["Outline tea", "Write 1. Boil"]


def test_plain_functions_are_parts_too() -> None:
    def shout(post: Post) -> dict[str, str]:
        return {"draft": post.draft.upper()}

    with ScriptedModel(["boil"]) as model, using(model):
        assert chain(write, shout).compile().invoke(Post("tea"))["draft"] == "BOIL"


def test_a_part_may_occur_twice(session: Session) -> None:
    app = chain(write, write).compile()
    with ScriptedModel(["one", "two"]) as model, using(model):
        assert app.invoke(Post("tea"), session.config("t"))["draft"] == "two"
    assert [r["path"] for r in session.journal.query("SELECT path FROM calls ORDER BY started_at")] == [
        "write",
        "write_2",
    ]


def test_a_chain_has_a_name() -> None:
    assert chain(plan, write).compile().get_name() == "chain_plan"
    assert chain(plan, name="blog").compile().get_name() == "blog"


def test_a_gate_names_the_last_part_before_it_that_is_no_gate() -> None:
    def is_short(post: Post) -> bool:
        return len(post.draft) < 5

    def is_long(post: Post) -> bool:
        return len(post.draft) > 2

    app = chain(gate(is_short), plan, write, gate(is_short), gate(is_long)).compile()
    with pytest.raises(GateFailed, match=r"after 'the input'.* Intermediate state was"):
        app.invoke(Post("tea", draft="much too long"))
    with ScriptedModel(["1. Boil", "x"]) as model, using(model), pytest.raises(GateFailed) as caught:
        app.invoke(Post("tea"))
    assert caught.value.step == "is_short_2"
    assert 'Intermediate draft was: "x"' in str(caught.value)


def test_a_chain_that_cannot_work_is_refused() -> None:
    with pytest.raises(DefinitionError, match="at least one part"):
        chain()
    with pytest.raises(DefinitionError, match="plan works on Post, sign works on Letter"):
        chain(plan, sign)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="3 is no part of a graph"):
        chain(plan, 3)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="no part says what the state is"):
        chain(chain(plan).compile())
