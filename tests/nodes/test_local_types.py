"""Types that only the function knows in which a node is defined: their names are looked up there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from stepgraph import Ask, ScriptedModel, chain, effect, review, rule, step, using


def test_a_node_may_be_defined_beside_its_state() -> None:
    @dataclass
    class Local:
        text: str = ""
        mood: str = ""
        size: int = 0

    Mood = Literal["good", "bad"]  # noqa: N806

    @step("mood")
    def judge(local: Local) -> Ask[Mood]:
        return Ask("Good?")

    @rule("size")
    def measure(local: Local) -> int:
        return len(local.mood)

    @effect
    def keep(local: Local) -> dict[str, str]:
        return {"text": f"{local.mood} {local.size}"}

    @review("text")
    def look(local: Local) -> str:
        return "Fine?"

    assert {part.state for part in (judge, measure, keep, look)} == {Local}
    with using(ScriptedModel(["good"])):
        assert chain(judge, measure, keep).compile().invoke(Local())["text"] == "good 4"


def test_a_name_that_nobody_knows_is_told() -> None:
    from stepgraph.errors import DefinitionError

    def judge(local: Unknown) -> Any: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(DefinitionError, match="judge: the annotation 'Unknown' cannot be resolved"):
        rule("size")(judge)
