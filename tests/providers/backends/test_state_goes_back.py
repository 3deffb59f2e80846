"""An agent's turns against imitated providers: what one wants back with a tool's call comes back."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from stepgraph import Ask, Session, agent, step, using

from ...imitator import KEY, THOUGHT
from ...imitators import DeepSeek


@dataclass
class Talk:
    text: str
    said: str = ""


@step("said")
def find(talk: Talk) -> Ask[str]:
    return Ask(talk.text)


def look_up(name: str) -> str:
    """Look a person up."""
    return f"{name} is in Paris."


@pytest.mark.parametrize("thought", [THOUGHT, ""], ids=["a thought", "an empty thought"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_thought_goes_back_with_a_tools_call(
    thought: str, *, streamed: bool, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", KEY)
    graph = agent(find, tools=[look_up]).compile()
    with DeepSeek() as server, using(server.spec(retries=0)):
        server.thought = thought
        config = session.config("talk")
        if streamed:
            async for _ in graph.astream(Talk("Where is Ada?"), config, stream_mode="messages"):
                pass
        else:
            await graph.ainvoke(Talk("Where is Ada?"), config)
        (said,) = [m for m in server.bodies[-1]["messages"] if m["role"] == "assistant"]
        assert [bool(body.get("stream")) for body in server.bodies] == [streamed, streamed]
    assert said["reasoning_content"].strip() == thought
