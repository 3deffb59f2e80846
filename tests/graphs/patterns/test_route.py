from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import pytest

from stepgraph import Ask, Choice, ScriptedModel, Session, chain, nearest, route, rule, step, using
from stepgraph.state.errors import DefinitionError, NoRoute

Kind = Literal["howto", "opinion"]


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


@dataclass
class Post:
    topic: str
    kind: Kind | None = None
    choice: Choice[Kind] | None = None
    mood: Mood | None = None
    by: str = ""


def branch(name: str) -> Any:
    def work(post: Post) -> dict[str, str]:
        return {"by": name}

    return work


howto, opinion, other = branch("howto"), branch("opinion"), branch("other")


@step("kind")
def classify(post: Post) -> Ask[Kind]:
    return Ask(f"Which kind? {post.topic}")


@step("choice")
def weigh(post: Post) -> Ask[Choice[Kind]]:
    return Ask(f"Which kind, how sure? {post.topic}")


def decided(value: Any) -> Any:
    def decide(post: Post) -> Any:
        return value

    return decide


def decision_in(session: Session) -> tuple[Any, ...]:
    (row,) = session.journal.query("SELECT path, kind, choice, confidence, reason FROM decisions")
    return tuple(row.values())


async def test_a_step_decides_and_its_label_is_kept(session: Session) -> None:
    app = route(classify, {"howto": howto, "opinion": opinion}).compile()
    with ScriptedModel(["opinion"]) as model, using(model):
        result = await app.ainvoke(Post("tea"), session.config("t"))
    assert (result["kind"], result["by"]) == ("opinion", "opinion")
    assert set(result) == {"topic", "kind", "choice", "mood", "by"}
    assert decision_in(session) == ("classify", "route", "opinion", None, None)


def test_a_rule_decides_and_its_label_is_kept() -> None:
    @rule("kind")
    def by_length(post: Post) -> Kind:
        return "howto" if len(post.topic) < 5 else "opinion"

    app = route(by_length, {"howto": howto, "opinion": opinion}).compile()
    assert app.invoke(Post("tea"))["by"] == "howto"
    result = app.invoke(Post("politics"))
    assert (result["kind"], result["by"]) == ("opinion", "opinion")


def test_a_plain_function_decides_and_writes_nothing() -> None:
    app = route(decided("howto"), {"howto": howto, "opinion": opinion}).compile()
    result = app.invoke(Post("tea"))
    assert (result["kind"], result["by"]) == (None, "howto")


def test_embeddings_decide(session: Session) -> None:
    @nearest({"howto": ["How do I brew tea?", "Steps to bake bread"], "opinion": ["I think tea is best"]})
    def topic(post: Post) -> str:
        return post.topic

    app = route(topic, {"howto": howto, "opinion": opinion}, fallback=other, min_confidence=0.3).compile()
    assert app.invoke(Post("How do I bake bread?"), session.config("t"))["by"] == "howto"
    _, _, choice, confidence, reason = decision_in(session)
    assert choice == "howto"
    assert 0.3 < confidence <= 1
    assert reason.startswith("similarity: howto")
    assert app.invoke(Post("…"))["by"] == "other"


@pytest.mark.parametrize(
    ("value", "choice", "reason"),
    [
        (Choice(label="howto", confidence=0.9, reason="it asks how"), "howto", "it asks how"),
        (
            Choice(label="howto", confidence=0.2, reason="a hunch"),
            "fallback",
            "howto only 0.20 sure, below 0.50 (a hunch)",
        ),
        (Choice(label="howto", confidence=0.5), "howto", None),
        (Choice(label=None, reason="no idea"), "fallback", "the classifier does not know (no idea)"),
        (None, "fallback", "the classifier does not know"),
        ("poem", "fallback", "there is no branch 'poem'"),
    ],
)
def test_the_decision_is_on_record(value: Any, choice: str, reason: str, session: Session) -> None:
    app = route(
        decided(value), {"howto": howto, "opinion": opinion}, fallback=other, min_confidence=0.5
    ).compile()
    result = app.invoke(Post("tea"), session.config("t"))
    assert result["by"] == ("howto" if choice == "howto" else "other")
    confidence = value.confidence if isinstance(value, Choice) else None
    assert decision_in(session) == ("decide", "route", choice, confidence, reason)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "the classifier does not know"),
        ("poem", "there is no branch 'poem'"),
        (Choice(label="howto", confidence=0.1), "howto only 0.10 sure, below 0.50"),
    ],
)
def test_without_a_fallback_doubt_is_an_error(value: Any, problem: str) -> None:
    app = route(decided(value), {"howto": howto, "opinion": opinion}, min_confidence=0.5).compile()
    with pytest.raises(NoRoute, match=f"Route 'decide': {problem}.*Branches: howto, opinion"):
        app.invoke(Post("tea"))


async def test_a_choice_with_confidence_is_read_back_from_a_checkpoint(session: Session) -> None:
    app = route(weigh, {"howto": howto, "opinion": opinion}).compile()
    config = session.config("t")
    with ScriptedModel([{"label": "howto", "confidence": 0.8, "reason": "asks how"}]) as model, using(model):
        await app.ainvoke(Post("tea"), config)
    kept = app.get_state(config).values["choice"]
    assert kept == Choice[Kind](label="howto", confidence=0.8, reason="asks how")
    assert decision_in(session) == ("weigh", "route", "howto", 0.8, "asks how")


def test_labels_may_be_an_enum_or_a_bool() -> None:
    app = route(decided(Mood.BAD), {Mood.GOOD: howto, Mood.BAD: opinion}).compile()
    assert {"good", "bad"} <= set(app.get_graph().nodes)
    assert app.invoke(Post("tea"))["by"] == "opinion"
    sure = route(decided(Choice(label=Mood.GOOD, confidence=1)), {Mood.GOOD: howto}, min_confidence=0.5)
    assert sure.compile().invoke(Post("tea"))["by"] == "howto"
    assert route(decided(False), {True: howto, False: other}).compile().invoke(Post("tea"))["by"] == "other"


def test_branches_are_parts_of_any_kind() -> None:
    app = route(classify, {"howto": chain(howto), "opinion": chain(opinion).compile()}).compile()
    with ScriptedModel(["howto", "opinion"]) as model, using(model):
        assert app.invoke(Post("tea"))["by"] == "howto"
        assert app.invoke(Post("tea"))["by"] == "opinion"


def test_a_label_that_has_no_branch_is_refused_at_construction() -> None:
    with pytest.raises(DefinitionError, match="no branch for 'opinion', which 'classify' can answer"):
        route(classify, {"howto": howto})
    route(classify, {"howto": howto}, fallback=other)


@pytest.mark.parametrize("classifier", [classify, weigh])
def test_a_branch_that_cannot_be_chosen_is_refused(classifier: Any) -> None:
    with pytest.raises(DefinitionError, match=r"never answers 'howtoo'. Did you mean 'howto'\?"):
        route(classifier, {"howtoo": howto, "opinion": opinion})


def test_a_route_without_branches_or_classifier_is_refused() -> None:
    with pytest.raises(DefinitionError, match="at least one branch"):
        route(classify, {})
    with pytest.raises(DefinitionError, match="'howto' is no step"):
        route("howto", {"howto": howto})  # type: ignore[arg-type, misc]
    with pytest.raises(DefinitionError, match="branches as a mapping"):
        route(classify, [howto, opinion])  # type: ignore[call-overload]


@pytest.mark.parametrize("min_confidence", [-0.1, 1.1])
def test_a_confidence_that_cannot_be_is_refused(min_confidence: float) -> None:
    with pytest.raises(DefinitionError, match="a confidence lies between 0 and 1"):
        route(classify, {"howto": howto}, fallback=other, min_confidence=min_confidence)


def test_by_default_the_least_confidence_will_do() -> None:
    app = route(decided(Choice(label="howto", confidence=0)), {"howto": howto}, fallback=other).compile()
    assert app.invoke(Post("tea"))["by"] == "howto"


@pytest.mark.parametrize(
    ("label", "node"),
    [("a b-c_d1", "a b-c_d1"), ("a:b", "a_b"), ("", "branch"), ("__end__", "__end__branch"), (7, "7")],
)
def test_any_label_names_a_node(label: Any, node: str) -> None:
    app = route(decided(label), {label: howto}).compile()
    assert node in app.get_graph().nodes
    assert app.invoke(Post("tea"))["by"] == "howto"


def test_labels_are_known_from_the_type_of_an_answer() -> None:
    """As they are from a model's, also where it may not know, and from the labels of embeddings."""

    @rule("kind")
    def maybe(post: Post) -> Kind | None:
        return None

    @nearest({"howto": ["How?"], "opinion": ["I think"]})
    def topic(post: Post) -> str:
        return post.topic

    classifiers: list[Any] = [classify, weigh, maybe, topic]
    for classifier in classifiers:
        with pytest.raises(DefinitionError, match="no branch for 'opinion', which"):
            route(classifier, {"howto": howto})
        with pytest.raises(DefinitionError, match="never answers 'poem'"):
            route(classifier, {"poem": howto}, fallback=other)
    route(maybe, {"howto": howto, "opinion": opinion})  # None is no label, so it needs no branch


def test_labels_of_several_literals_are_all_known_and_text_may_be_any() -> None:
    @rule("kind")
    def either(post: Post) -> Literal["howto"] | Literal["opinion"] | None:
        return "opinion"

    app = route(either, {"howto": howto, "opinion": opinion}).compile()
    assert app.invoke(Post("tea"))["by"] == "opinion"
    with pytest.raises(DefinitionError, match="no branch for 'opinion', which 'either' can answer"):
        route(either, {"howto": howto})

    @rule("by")
    def loose(post: Post) -> Literal["howto"] | str:
        return "other"

    assert route(loose, {"howto": howto, "other": other}).compile().invoke(Post("tea"))["by"] == "other"
