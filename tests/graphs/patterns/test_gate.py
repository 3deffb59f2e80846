"""A gate that repairs, or sends the run elsewhere; gates that only stop are in tests/nodes/test_gates.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, gate, refine, rule, step, using
from stepgraph.nodes.costs import cost_of, least, most
from stepgraph.state.errors import DefinitionError, GateFailed


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""
    tags: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write on {post.topic}", system="You write.")


@step("tags")
def tag(post: Post) -> Ask[list[str]]:
    return Ask("Tags?")


def short(post: Post) -> bool | str:
    return len(post.draft) < 10 or f"{len(post.draft)} characters, at most 9."


def tagged(post: Post) -> bool | str:
    return bool(post.tags) or "no tags."


@rule("problems")
def problems(post: Post) -> list[str]:
    return [] if len(post.draft) < 10 else ["too long"]


@step("problems", model="critic")
def critic(post: Post) -> Ask[list[str]]:
    return Ask(f"What is wrong? {post.draft}")


def cut(post: Post) -> dict[str, str]:
    return {"draft": post.draft[:9]}


def publish(post: Post) -> dict[str, str]:
    return {"topic": f"published {post.topic}"}


def cut_nothing(post: Post) -> dict[str, str]:
    return {}


def is_empty(found: list[str]) -> bool:
    return not found


def run(
    graph: Any, answers: Any, *config: Any, post: Post | None = None
) -> tuple[dict[str, Any], ScriptedModel]:
    with ScriptedModel(answers) as model, using(model):
        result: dict[str, Any] = graph.compile().invoke(post or Post(), *config)
    return result, model


def choices(session: Session) -> list[tuple[Any, ...]]:
    rows = session.journal.query("SELECT choice, reason FROM decisions WHERE kind = 'gate' ORDER BY id")
    return [tuple(row.values()) for row in rows]


def test_what_passes_is_not_repaired(session: Session) -> None:
    result, model = run(chain(write, gate(short, repair=write), publish), ["Short."], session.config("t"))
    assert (result["draft"], result["topic"], len(model.asks)) == ("Short.", "published tea", 1)
    assert "stepgraph_repairs" not in result
    assert choices(session) == [("passed", None)]


def test_a_step_is_asked_again_with_its_answer_and_the_reason(session: Session) -> None:
    graph = chain(write, gate(short, repair=write), publish)
    result, model = run(graph, ["Much too long.", "Short."], session.config("t"))
    assert (result["draft"], result["topic"]) == ("Short.", "published tea")
    asked = [dict(message) for message in model.asks[1][1].messages]
    assert asked == [
        {"role": "system", "content": "You write."},
        {"role": "user", "content": "Write on tea"},
        {"role": "assistant", "content": "Much too long."},
        {
            "role": "user",
            "content": "That answer does not fit: 14 characters, at most 9.\nAnswer again, correctly.",
        },
    ]
    assert choices(session) == [("repair", "14 characters, at most 9."), ("passed", None)]


def test_a_structured_answer_is_shown_as_it_was_given() -> None:
    _, model = run(chain(tag, gate(tagged, repair=tag)), [[], ["tea"]])
    assert model.asks[1][1].messages[1]["content"] == '{"answer":[]}'


async def test_repairs_end_and_the_error_counts_them(session: Session) -> None:
    app = chain(write, gate(short, repair=write, tries=2)).compile()
    answers = ["Much too long.", "Still too long.", "Even too long!"]
    with ScriptedModel(answers) as model, using(model), pytest.raises(GateFailed) as caught:
        await app.ainvoke(Post(), session.config("t"))
    assert str(caught.value).startswith("Gate 'short' stopped the chain after 'write', repaired 2 x: 14 char")
    assert caught.value.output["draft"] == "Even too long!"
    assert not any(name.startswith("stepgraph") for name in caught.value.output)
    assert [choice for choice, _ in choices(session)] == ["repair", "repair", "stopped"]
    assert len(model.asks) == 3


def test_by_default_the_work_is_repaired_twice() -> None:
    with pytest.raises(GateFailed, match="repaired 2 x"):
        run(
            gate(short, repair=write),
            ["Still too long."] * 2 + ["Asked too often."],
            post=Post(draft="Much too long."),
        )


@pytest.mark.parametrize("check", ["code", "pattern"])
def test_a_gate_that_stops_names_itself_and_its_node(session: Session, check: str) -> None:
    by: tuple[Any, ...] = (short,) if check == "code" else (chain(problems, name="problems"), is_empty)
    named = "short" if check == "code" else "problems"
    with pytest.raises(GateFailed, match=f"Gate '{named}' stopped the chain"):
        run(
            gate(*by, repair=cut_nothing, tries=1), [], session.config("t"), post=Post(draft="Much too long.")
        )
    rows = session.journal.query("SELECT path, choice FROM decisions ORDER BY id")
    node = "short" if check == "code" else "decide"
    assert [tuple(row.values()) for row in rows] == [(node, "repair"), (node, "stopped")]


def test_a_gate_takes_a_name_for_its_error(session: Session) -> None:
    with pytest.raises(GateFailed, match="Gate 'brevity' stopped the chain after 'write': 14 characters"):
        run(chain(write, gate(short, name="brevity")), ["Much too long."])


def test_a_pattern_that_stops_names_itself_as_the_step() -> None:
    """Where there is nothing to repair, the part before the gate is not known to it."""
    with pytest.raises(GateFailed, match="Gate 'problems' stopped the chain after 'problems': problems said"):
        run(gate(chain(problems, name="problems"), is_empty), [], post=Post(draft="Much too long."))


def test_a_second_run_on_the_thread_has_all_its_repairs_again(session: Session) -> None:
    graph = gate(short, repair=write, tries=1)
    app = graph.compile()
    with ScriptedModel(["Short.", "Tea."]) as model, using(model):
        app.invoke(Post(draft="Much too long."), session.config("t"))
        app.invoke(Post(draft="Also too long."), session.config("t"))
    assert len(model.asks) == 2


def test_code_may_repair() -> None:
    result, _ = run(chain(write, gate(short, repair=cut)), ["Much too long."])
    assert result["draft"] == "Much too "


def test_a_pattern_repairs_and_reads_what_the_check_wrote() -> None:
    @step("draft")
    def mend(post: Post) -> Ask[str]:
        return Ask(f"Fix: {post.problems}")

    graph = chain(write, gate(problems, lambda found: not found, repair=chain(mend)))
    result, model = run(graph, ["Much too long.", "Short."])
    assert (result["draft"], result["problems"]) == ("Short.", [])
    assert model.asks[1][1].messages[0]["content"] == "Fix: ['too long']"


def test_what_still_fails_goes_elsewhere(session: Session) -> None:
    graph = chain(write, gate(short, repair=write, tries=1, otherwise=cut), publish)
    result, _ = run(graph, ["Much too long.", "Still too long."], session.config("t"))
    assert (result["draft"], result["topic"]) == ("Still too", "published tea")
    assert [choice for choice, _ in choices(session)] == ["repair", "otherwise"]


def test_a_gate_goes_elsewhere_at_once_without_repair() -> None:
    result, model = run(chain(write, gate(short, otherwise=cut)), ["Much too long."])
    assert (result["draft"], len(model.asks)) == ("Much too ", 1)


def test_it_nests_in_a_loop() -> None:
    inner = chain(write, gate(short, repair=write))
    loop = refine(inner, critic, until=lambda found: not found, rounds=2)
    result, _ = run(loop, ["Much too long.", "Short.", ["dull"], "Fine.", []])
    assert (result["draft"], result["problems"]) == ("Fine.", [])


def test_after_a_crash_no_repair_is_paid_twice(session: Session) -> None:
    crashed = []

    def crash_once(post: Post) -> dict[str, Any]:
        if not crashed:
            crashed.append(True)
            raise ZeroDivisionError
        return {}

    app = chain(write, gate(short, repair=write), crash_once).compile()
    with ScriptedModel(["Much too long.", "Short."]) as model, using(model):
        with pytest.raises(ZeroDivisionError):
            app.invoke(Post(), session.config("t"))
        assert app.invoke(None, session.config("t"))["draft"] == "Short."
    assert len(model.asks) == 2


def test_the_cost_in_calls() -> None:
    stop = chain(write, gate(critic, lambda found: not found))
    assert (least(cost_of(stop)), most(cost_of(stop))) == (2, 2)
    mend = chain(write, gate(critic, lambda found: not found, repair=write, tries=3, otherwise=tag))
    assert (least(cost_of(mend)), most(cost_of(mend))) == (2, 1 + 1 + 3 * 2 + 1)
    answers = {"write": ["a", "b", "c", "d"], "critic": [["x"]] * 4, "tag": [[]]}
    assert len(run(mend, answers)[1].asks) == most(cost_of(mend))


def test_a_gate_that_cannot_work_is_refused() -> None:
    async def later(text: str) -> bool:
        return True

    with pytest.raises(DefinitionError, match=r"tries=0\): expected a whole number, at least 1"):
        gate(short, repair=write, tries=0)
    with pytest.raises(DefinitionError, match="'later' is async"):
        gate(write, later)  # type: ignore[call-overload]
