"""Calls over one prefix in whole runs: on the wire, in budgets, in records and in agents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from stepgraph import Ask, Budget, Session, agent, estimate, fan_out, run, step, using
from stepgraph.providers.stack import stack
from stepgraph.tracing import fork

from ...caching_server import CHARS, CachingServer
from ...servers import Answer, ChatServer, Fault
from .prefix_cases import DOCUMENT, SHAPES, Clause, Contract, caching as caching, read, split


def test_a_leader_that_fails_on_the_wire_leads_no_more(caching: CachingServer) -> None:
    caching.fate = lambda number: "fail" if number == 0 else None
    with using(caching.spec(retries=2)):
        app = SHAPES["fan_out"].compile()
        assert len(app.invoke(Contract(8))["clauses"]) == 8
    assert caching.before_first_token == 2  # the one that failed, and the next
    assert caching.cached >= 0.97 * len(DOCUMENT) / CHARS * 7


def test_a_budget_counts_the_calls_as_they_are(caching: CachingServer, session: Session) -> None:
    """Whoever waits for the prefix holds no part of a budget, and the last call that fits is made."""
    with using(caching.spec()):
        result = run(SHAPES["fan_out"].compile(), Contract(8), session, "t", budget=Budget(calls=5))
    assert (result.status, result.spent.calls, len(caching.bodies)) == ("partial", 5, 5)
    with using(caching.spec()):
        result = run(SHAPES["fan_out"].compile(), None, session, "t", budget=Budget(calls=8))
    assert (result.status, len(caching.bodies)) == ("done", 8)
    assert caching.before_first_token == 1


def test_a_hedge_is_for_the_call_not_for_its_wait(caching: CachingServer) -> None:
    caching.first_token_s = 0.3
    with using(caching.spec(hedge_after_s=20)):
        SHAPES["section"].compile().invoke(Contract())
    assert len(caching.bodies) == 2


def test_a_server_that_does_not_stream_is_asked_without_and_learnt_once(server: ChatServer) -> None:
    refused = []

    def decide() -> Answer | Fault:
        if server.bodies[-1].get("stream"):
            refused.append(len(server.bodies))
            return Fault(400, '{"error": {"message": "streaming is not supported"}}')
        return Answer(cached=90)

    server.decide = decide
    with using(server.spec()):
        app = SHAPES["fan_out"].compile()
        assert len(app.invoke(Contract(4))["clauses"]) == 4
        forget_prefixes()
        app.invoke(Contract(4))
    assert refused == [1]
    assert len(server.bodies) == 9


def test_a_stream_that_does_not_count_its_tokens_is_not_asked_for_again(server: ChatServer) -> None:
    server.decide = lambda: Answer(usage=not server.bodies[-1].get("stream"))
    with using(server.spec()):
        app = SHAPES["section"].compile()
        app.invoke(Contract())
        forget_prefixes()
        app.invoke(Contract())
    assert [bool(body.get("stream")) for body in server.bodies] == [True, False, False, False]


def forget_prefixes() -> None:
    """Forget what is in caches, but not what was learnt of the endpoints."""
    for prefixes in stack._prefixes_by_endpoint.values():
        prefixes._used_at.clear()


CLIENTS: dict[str, Callable[[str], Any]] = {
    "langchain": lambda url: {"model": "served", "base_url": url, "client": "langchain"},
    "object": lambda url: ChatOpenAI(model="served", base_url=url, api_key=SecretStr("k"), stream_usage=True),
    "object that does not stream": lambda url: ChatOpenAI(
        model="served", base_url=url, api_key=SecretStr("k"), disable_streaming=True
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_langchains_classes_lead_too(client: str, caching: CachingServer) -> None:
    with using(CLIENTS[client](caching.url)):
        SHAPES["fan_out"].compile().invoke(Contract(8))
    assert caching.before_first_token == 1
    assert caching.share >= 0.8
    assert bool(caching.bodies[0].get("stream")) == ("not" not in client)
    assert not any(body.get("stream") for body in caching.bodies[1:])


def test_answers_on_record_serve_whoever_asks_again(caching: CachingServer, session: Session) -> None:
    """A resume, the cache and a fork find the answers under the same key, and wait for nobody."""
    app = SHAPES["fan_out"].compile()
    with using(caching.spec()):
        done = run(app, Contract(4), session, "t", cache_s=3600)
        again = run(app, Contract(4), session, "other", cache_s=3600)
        forked = fork(session, "t", new_thread="copy")
        copied = run(app, None, session, forked)
    assert len(caching.bodies) == 4
    assert done.value == again.value == copied.value
    with using(caching.spec()):
        run(
            fan_out(split, read.on("default"), into="clauses", name="fan_out").compile(),
            Contract(5),
            session,
            "t2",
        )
    assert len(caching.bodies) == 9


def test_equal_questions_are_asked_once(caching: CachingServer, session: Session) -> None:
    @step("note")
    def same(clause: Clause) -> Ask[str]:
        return Ask("Who signs?", prefix=DOCUMENT)

    with using(caching.spec()):
        run(fan_out(split, same, into="clauses").compile(), Contract(6), session, "t")
    assert len(caching.bodies) == 1


def test_an_estimate_has_the_prefix_in_every_call() -> None:
    with using({"model": "m", "base_url": "http://127.0.0.1:9/v1", "max_tokens": 10}):
        found = estimate(SHAPES["section"], Contract())
    assert found.tokens is not None
    assert found.tokens >= 2 * len(DOCUMENT)


def test_the_next_model_has_a_leader_of_its_own(caching: CachingServer, server: ChatServer) -> None:
    server.always = Fault(status=401)
    with using([server.spec(), caching.spec()]):
        SHAPES["fan_out"].compile().invoke(Contract(8))
    assert caching.before_first_token == 1
    assert caching.share >= 0.8


def test_an_agent_keeps_the_prefix_through_its_turns(caching: CachingServer) -> None:
    @step("first")
    def helper(contract: Contract) -> Ask[str]:
        return Ask("Who signs?", prefix=[HumanMessage(DOCUMENT)])

    def look_up(name: str) -> str:
        """Look a name up."""
        return name

    with using(caching.spec(capabilities={"prefix_mark": "cache_control"})):
        agent(helper, tools=[look_up]).compile().invoke(Contract())
    (part, question) = caching.bodies[0]["messages"][0]["content"]
    assert part == {"type": "text", "text": DOCUMENT, "cache_control": {"type": "ephemeral"}}
    assert question["text"] == "\n\nWho signs?"
