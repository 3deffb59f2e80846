"""The review: the run waits until a person approves, rejects or edits a field of the state."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from langgraph.channels import LastValue
from langgraph.graph import StateGraph
from langgraph.typing import StateT

from ...nodes.reviews import Review
from ...state.errors import DefinitionError
from ...state.schema import accepts, caller_names, check_fields, fields_of, signature_types
from ...state.serde import allow


def review(field: str, *, reason: str | None = None) -> Callable[[Callable[[StateT], str]], Review[StateT]]:
    """Make a review of a function that turns the state into the question for a person.

    `field` is what the person judges. They approve it, reject it with a reason, or edit it: put another
    value in its place, which is validated against the field's type. An answer that cannot be taken is
    asked again, with what is wrong. The run waits as long as it takes, over restarts too, so it needs
    a session; the answer comes from `stepgraph approve`, `reject` and `edit`, or from Python:

        app.invoke(Command(resume={"decision": "reject", "reason": "too long", "by": "ada"}), config)

    As a part of a pattern it lets what is approved pass. A rejection raises Rejected; or, with `reason`,
    a text field of the state, it is written there and the run goes on ("" means approved). To go
    elsewhere, decide by its value, a Verdict:

        route(check, {"approved": send, "rejected": park})
        refine(write, check, until=lambda verdict: verdict.approved, rounds=3)

    Costs no model call.

        @review("draft")
        def check(post: Post) -> str:
            return f"Publish this on {post.topic}?"
    """
    if callable(field):
        raise DefinitionError('review needs the field that is judged: @review("draft"), not @review.')
    namespace = caller_names()

    def decorate(function: Callable[[StateT], str]) -> Review[StateT]:
        name = function.__name__
        if inspect.iscoroutinefunction(function):
            raise DefinitionError(f"Review {name!r} is async, but it only words the question.")
        state, _ = signature_types(function, namespace)
        fields = [field] if reason is None else [field, reason]
        check_fields(state, fields, f"Review {name!r}")
        channels = StateGraph(state).schemas[state]
        for each in fields:
            if not isinstance(channels[each], LastValue):
                raise DefinitionError(
                    f"Review {name!r}: {state.__name__}.{each} has a reducer, so what a person puts there "
                    "would be merged with what it holds. Use a plain field."
                )
        if reason is not None and not accepts(fields_of(state)[reason], str):
            raise DefinitionError(
                f"Review {name!r}: {state.__name__}.{reason} must be text to hold a reason."
            )
        allow(state)
        return Review(function, field, state=state, reason=reason)

    return decorate
