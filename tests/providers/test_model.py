from __future__ import annotations

from dataclasses import replace

from stepgraph import Session
from stepgraph.providers.model import CallContext, Request

HELLO = Request(({"role": "user", "content": "Hello"},))


def site_in(session: Session) -> CallContext:
    configurable = {**session.config("t")["configurable"], "checkpoint_ns": "inner:1|write:2"}
    return CallContext("write", config={"configurable": configurable})


def test_a_site_knows_its_place(session: Session) -> None:
    context = site_in(session)
    assert (context.thread_id, context.task, context.path) == ("t", "inner:1|write:2", "inner/write")
    assert context.session is session
    outside = CallContext("write")
    assert (outside.thread_id, outside.task, outside.session) == ("", "", None)


def test_the_same_call_has_the_same_key_and_no_other_has(session: Session) -> None:
    context = site_in(session)
    key = context.call_key(session, "m", HELLO)
    assert key == context.call_key(session, "m", replace(HELLO))
    others = [
        context.call_key(session, "n", HELLO),
        context.call_key(session, "m", replace(HELLO, temperature=0)),
        context.call_key(session, "m", replace(HELLO, max_tokens=5)),
        context.call_key(session, "m", replace(HELLO, schema={"type": "object"})),
        context.call_key(session, "m", Request(({"role": "user", "content": "Bye"},))),
    ]
    assert len({key, *others}) == 6


def test_params_leave_out_what_is_not_set() -> None:
    assert HELLO.params() == {}
    assert replace(HELLO, temperature=0).params() == {"temperature": 0}
