"""A review: the run waits until a person approves, rejects or edits a field of the state."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.channels import LastValue
from langgraph.graph import StateGraph
from langgraph.types import interrupt
from langgraph.typing import StateT
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_jsonable_python

from ..state.errors import DefinitionError, InputError, Rejected
from ..state.names import REVIEW
from ..state.run_context import RunContext
from ..state.schema import (
    StateType,
    accepts,
    caller_names,
    check_fields,
    fields_of,
    json_schema_of,
    signature_types,
    validate_field,
    values_of,
)
from ..state.serde import allow
from .ask import Choice
from .gates import shown_output
from .node import Node, record_decision

DECISIONS = ("approve", "reject", "edit")

Label = Literal["approved", "rejected"]


class Verdict(Choice[Label]):
    """What a person decided: `label` is approved or rejected, `reason` tells who said what.

    An edit approves the value that the person put in the field's place: `edited` is True then, and
    `value` is that one. `comment` is what the person wrote.
    """

    by: str = ""
    comment: str = ""
    edited: bool = False
    value: Any = Field(default=None, exclude=True)

    @property
    def approved(self) -> bool:
        return self.label == "approved"


class Answer(BaseModel):
    """What a review takes: JSON with a decision and, as it demands, a reason or a value."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["approve", "reject", "edit"]
    reason: str = ""
    value: Any = Field(default=None)
    by: str = ""


class Unusable(ValueError):
    """An answer that a review cannot take; the message tells a person what to mend."""


class Review(Node[StateT], Generic[StateT]):
    """One graph node that waits for a person's word on one field. Made by `review`.

    Like a step, it has a value, the `Verdict`, so routes, gates and refine loops can decide by it.
    """

    def __init__(
        self, function: Callable[[StateT], str], field: str, *, state: StateType, reason: str | None
    ) -> None:
        self.__doc__ = function.__doc__
        self.name = function.__name__
        self.state = state
        self.writes = reason
        self.writes_also = field
        self.answer_type = Verdict
        self._function = function
        self._field = field
        self._schema = json_schema_of(state, field)

    def question(self, state: StateT) -> dict[str, Any]:
        """Return what a person is asked about a state: JSON, as the interrupt holds it."""
        value = values_of(state).get(self._field)
        return {
            "kind": REVIEW,
            "review": self.name,
            "question": self._function(state),
            "field": self._field,
            "value": to_jsonable_python(value, fallback=repr, serialize_unknown=True, inf_nan_mode="strings"),
            "decisions": list(DECISIONS),
            "schema": self._schema,
        }

    async def answer(self, state: StateT, config: RunnableConfig | None = None) -> Verdict:
        """Wait for a person and return the verdict; an answer that cannot be taken is asked again."""
        config = config or var_child_runnable_config.get()
        here = RunContext.of(config)
        if not here.checkpointer:
            raise InputError(
                f"Review {self.name!r} waits for a person, so the run must be kept until then: give it a "
                "session, app.invoke(state, session.config(thread_id)), or compile it with a checkpointer."
            )
        asked = {**self.question(state), "path": here.path}
        answer = interrupt(asked)
        while True:
            try:
                return self.read(answer)
            except Unusable as problem:
                answer = interrupt({**asked, "problem": str(problem)})

    def read(self, answer: Any) -> Verdict:
        """Return the verdict that an answer stands for. Raises Unusable, which says what is wrong."""
        given = _parsed(answer)
        comment, by = given.reason.strip(), given.by.strip()
        if given.decision == "reject" and not comment:
            raise Unusable("a rejection needs a reason.")
        told = f"by {by}" if by else ""
        if comment:
            told = f"{told}: {comment}" if told else comment
        if given.decision == "reject":
            return Verdict(label="rejected", by=by, comment=comment, reason=told)
        if given.decision == "approve":
            return Verdict(label="approved", by=by, comment=comment, reason=told)
        try:
            value = validate_field(self.state, self._field, given.value)
        except ValidationError as error:
            raise Unusable(_told(error, self._field)) from None
        told = f"edited {told}".rstrip()
        return Verdict(label="approved", by=by, comment=comment, reason=told, edited=True, value=value)

    def update(self, value: Choice[Label]) -> dict[str, Any]:
        update: dict[str, Any] = {}
        if isinstance(value, Verdict):
            if value.edited:
                update[self._field] = value.value
            if self.writes:
                update[self.writes] = "" if value.approved else value.comment
        return update

    async def ainvoke(
        self, input: StateT, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        verdict = await self.answer(input, config)
        record_decision(config, "review", _choice(verdict), reason=verdict.reason or None)
        if verdict.approved or self.writes:
            return self.update(verdict)
        output, shown = shown_output(values_of(input), self._field)
        who = f" by {verdict.by}" if verdict.by else ""
        raise Rejected(
            f"Review {self.name!r}: {self._field} was rejected{who} ({verdict.comment}). It was: {shown}",
            step=self.name,
            reason=verdict.comment,
            output=output,
            by=verdict.by,
        )


def _choice(verdict: Verdict) -> str:
    return "edited" if verdict.edited else "approved" if verdict.approved else "rejected"


def _parsed(answer: Any) -> Answer:
    """Return an answer; True, False and the bare word of a decision will do where they say enough."""
    if isinstance(answer, bool):
        answer = "approve" if answer else "reject"
    if isinstance(answer, str):
        answer = {"decision": answer.strip().lower()}
    if isinstance(answer, BaseModel):
        answer = answer.model_dump()
    if not isinstance(answer, Mapping):
        raise Unusable(f"expected a decision, one of {', '.join(DECISIONS)}, got {answer!r:.80}.")
    try:
        parsed = Answer.model_validate(dict(answer))
    except ValidationError as error:
        raise Unusable(_told(error, "answer")) from None
    if (parsed.decision == "edit") != ("value" in parsed.model_fields_set):
        raise Unusable("an edit needs a value." if parsed.decision == "edit" else "only an edit has a value.")
    return parsed


def _told(error: ValidationError, name: str) -> str:
    found = error.errors(include_url=False, include_context=False)
    return "; ".join(
        f"{'.'.join(map(str, (name, *item['loc'])))}: {item['msg']}, got {item['input']!r:.80}"
        for item in found[:5]
    )


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
