from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import ValidationError

from stepgraph import Ask, Choice


def test_a_prompt_becomes_messages() -> None:
    assert Ask("Why?", system="Be brief.").messages() == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
    )


def test_langchain_messages_become_openai_messages() -> None:
    talk = [HumanMessage("Hi"), AIMessage("Hello"), HumanMessage("Bye")]
    assert [m["role"] for m in Ask(talk).messages()] == ["user", "assistant", "user"]


def test_a_confidence_lies_between_0_and_1() -> None:
    assert Choice[str](label=None).confidence is None
    with pytest.raises(ValidationError):
        Choice[str](label="a", confidence=1.5)
