"""Odd answers end in the right answer or a typed error, the same by both clients."""

from __future__ import annotations

from typing import Any

import pytest

from stepgraph.providers.model import Request

from ...imitator import KEY
from ...servers import ChatServer
from .odd_wires import STREAMED, WHOLE, Case
from .test_clients_agree import HELLO, TOOL, Seen, seen_by


def made_of(seen: Seen, expected: Any) -> Any:
    """Return what was made of an answer, in the form of what is expected."""
    if seen.problem is not None:
        kind, status = seen.problem[:2]
        return (kind, status) if isinstance(expected, tuple) else kind
    reply = seen.reply
    assert reply is not None
    if isinstance(expected, list):
        return [(call.name, None if call.problem else dict(call.arguments)) for call in reply.tool_calls]
    if isinstance(expected, dict):
        told = {"finish": reply.finish_reason, "usage": (reply.usage.input, reply.usage.output)}
        return {name: told[name] for name in expected}
    return reply.text


async def check(server: ChatServer, case: Case, *, streamed: bool) -> list[str]:
    """Return what is wrong with what the clients make of an answer."""
    server.always, expected = case
    request = Request(HELLO, tools=(TOOL,))
    seen = [
        await seen_by(client, server, request, streamed=streamed, provider="openai")
        for client in ("http", "langchain")
    ]
    wrong = [f"{made!r}, not {expected!r}" for one in seen if (made := made_of(one, expected)) != expected]
    if (seen[0].reply, seen[0].problem, seen[0].said) != (seen[1].reply, seen[1].problem, seen[1].said):
        wrong.append(f"http {seen[0]}, langchain {seen[1]}")
    wrong += [
        f"{one.said!r} was streamed of {one.reply.text!r}"
        for one in seen
        if streamed and one.reply is not None and one.said != one.reply.text
    ]
    return [*wrong, *(f"{one.requests} requests" for one in seen if one.requests != 1)]


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # of OpenAI's package
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_an_odd_answer_is_right_or_an_error(
    server: ChatServer, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    cases = STREAMED if streamed else WHOLE
    wrong = {name: await check(server, case, streamed=streamed) for name, case in cases.items()}
    assert {name: problems for name, problems in wrong.items() if problems} == {}
