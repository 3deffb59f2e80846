from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given, strategies as st
from langchain_core.tools import StructuredTool

from stepgraph import Ask, Choice, agent, chain, step, using
from stepgraph.providers.backends.wire_names import schema_name, wire_name

from ...servers import Answer, ChatServer

FIT = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@given(st.text(max_size=90), st.text(max_size=90))
def test_names_fit_and_stay_apart(one: str, other: str) -> None:
    for name in (one, other):
        assert FIT.fullmatch(wire_name(name))
        assert FIT.fullmatch(schema_name({"title": name}))
        if FIT.fullmatch(name):
            assert wire_name(name) == name
    assert (wire_name(one) == wire_name(other)) is (one == other)


@dataclass
class Question:
    text: str
    reply: str = ""
    kind: Choice[Literal["退货", "ham"]] | None = None


@step("reply")
def help_out(question: Question) -> Ask[str]:
    return Ask(question.text)


@step("kind")
def sort_out(question: Question) -> Ask[Choice[Literal["退货", "ham"]]]:
    return Ask(question.text)


@pytest.mark.parametrize("name", ["github.search", "Lookup order", "x" * 70, "поиск", "find"])
def test_tools_of_any_name_are_called(server: ChatServer, name: str) -> None:
    found: list[str] = []

    def search(q: str) -> str:
        """Search."""
        found.append(q)
        return f"{q} is at dock 4"

    on_the_wire = wire_name(name)
    server.will(Answer("", tool_calls=((on_the_wire, '{"q": "P-9"}'),)), "dock 4")
    tool = StructuredTool.from_function(search, name=name)
    with using(server.spec()):
        assert agent(help_out, tools=[tool]).compile().invoke(Question("Where?"))["reply"] == "dock 4"
    assert found == ["P-9"]
    sent: Any = server.bodies[1]
    assert [tool["function"]["name"] for tool in sent["tools"]] == [on_the_wire]
    assert [call["function"]["name"] for m in sent["messages"] for call in m.get("tool_calls", ())] == [
        on_the_wire
    ]


def test_a_generic_schema_has_a_name_that_fits_and_labels_that_can_be_read(server: ChatServer) -> None:
    server.will('{"label": "退货", "confidence": 0.9}')
    with using(server.spec(capabilities={"schema_in_prompt": True})):
        assert chain(sort_out).compile().invoke(Question("我想退货"))["kind"].label == "退货"
    (body,) = server.bodies
    assert FIT.fullmatch(body["response_format"]["json_schema"]["name"])
    assert "退货" in body["messages"][0]["content"]
