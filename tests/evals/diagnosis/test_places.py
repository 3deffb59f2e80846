"""From which states B goes on, in graphs of every form: before and after each innermost node."""

from __future__ import annotations

from stepgraph.evals.diagnosis.places import Execution, stages_in


def executions(text: str) -> list[Execution]:
    """Read "path@ns:superstep" words; a task's id is its place in the text."""
    found: dict[str, Execution] = {}
    for number, word in enumerate(text.split()):
        name, _, step = word.partition(":")
        path, _, holder = name.partition("@")
        outer = found[holder].task + "|" if holder else ""
        shown = f"{found[holder].path}/{path}" if holder else path
        found[name.partition("@")[0]] = Execution(
            shown, f"{outer}{path.rstrip('0123456789')}:{number}", int(step)
        )
    return list(found.values())


def anew(text: str) -> dict[str, tuple[set[str], set[str] | None]]:
    return {
        stage.node: (set(stage.before.anew), None if stage.after is None else set(stage.after.anew))
        for stage in stages_in(executions(text))
    }


def test_in_a_chain_each_node_parts_what_was_done_from_what_is_done_anew() -> None:
    assert anew("a:1 b:2 c:3") == {
        "a": ({"a", "b", "c"}, {"b", "c"}),
        "b": ({"b", "c"}, {"c"}),
        "c": ({"c"}, None),
    }


def test_what_ran_beside_a_node_is_kept() -> None:
    assert anew("a:1 left:2 right:2 join:3") == {
        "a": ({"a", "left", "right", "join"}, {"left", "right", "join"}),
        "left": ({"left", "join"}, {"join"}),
        "right": ({"right", "join"}, {"join"}),
        "join": ({"join"}, None),
    }


def test_nested_graphs_are_taken_apart_and_what_runs_beside_them_is_kept() -> None:
    assert anew("g:1 x@g:1 y@g:2 beside:1 end:2") == {
        "g/x": ({"g/x", "g/y", "end"}, {"g/y", "end"}),
        "g/y": ({"g/y", "end"}, {"end"}),
        "beside": ({"beside", "end"}, {"end"}),
        "end": ({"end"}, None),
    }


def test_a_state_that_two_nodes_share_is_one_place() -> None:
    stages = {stage.node: stage for stage in stages_in(executions("g:1 x@g:1 end:2"))}
    assert stages["g/x"].after is stages["end"].before
