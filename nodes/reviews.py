"""A review: the run waits until a person approves, rejects or edits a field of the state."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Generic, Literal

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import GraphInterrupt
from langgraph.types import interrupt
from langgraph.typing import StateT
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..state.errors import AnswerTooLate, DeadlinePassed, InputError, Rejected
from ..state.journal.standing import asked_by
from ..state.journal.waits import WaitRecord, end_wait
from ..state.names import REVIEW
from ..state.run_context import RunContext
from ..state.schema import StateType, json_schema_of, validate_field, values_of
from ..tracing.record.text import plain
from .ask import Choice
from .deadlines import Deadline, Until
from .escalations import Escalation
from .gates import shown_output
from .node import AnswerNode, Update, record_decision

DECISIONS = ("approve", "reject", "edit")
TAKES = ("field", "schema", "decisions")  # what of a question says which answers it takes

Label = Literal["approved", "rejected", "expired"]


class Verdict(Choice[Label]):
    """What a person decided: `label` is approved or rejected, `reason` tells who said what.

    It is expired where nobody answered before the review's deadline.

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

    @property
    def expired(self) -> bool:
        return self.label == "expired"


class ReviewAnswer(BaseModel):
    """What a review takes: JSON with a decision and, as it demands, a reason or a value.

    `user` is whom the system knows as the one who answers, beside `by`, who may say anything; `seen` says
    what was shown. Both go on record.
    """

    model_config = ConfigDict(extra="forbid")

    decision: Literal["approve", "reject", "edit"]
    reason: str = ""
    value: Any = None
    by: str = ""
    user: str = ""
    seen: str = ""


class InvalidVerdict(ValueError):
    """An answer that a review cannot take; the message tells a person what to fix."""


class Review(AnswerNode[StateT, Verdict], Generic[StateT]):
    """One graph node that waits for a person's word on one field. Made by `review`.

    Like a step, it has a value, the `Verdict`, so routes, gates and refine loops can decide by it.
    """

    def __init__(
        self,
        function: Callable[[StateT], str],
        field: str,
        *,
        state: StateType,
        reason: str | None,
        until: Until | None = None,
        default: Literal["approve", "reject"] | None = None,
        escalation: Escalation | None = None,
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
        self._deadline = None if until is None else Deadline(until, f"The deadline of review {self.name!r}")
        self._default = default
        self._escalation = escalation
        if self._deadline is not None:
            self._deadline.check_state(state)

    @property
    def labels(self) -> tuple[str, ...]:
        """What its verdicts can say."""
        can_expire = self._deadline is not None and self._default is None
        return ("approved", "rejected", "expired") if can_expire else ("approved", "rejected")

    @property
    def promise(self) -> str | None:
        """What a graph with this node promises, if it has a deadline, or somebody to ask next."""
        if self._deadline is None and self._escalation is None:
            return None
        what = "names whom it asks" if self._deadline is None else "has a deadline"
        return f"The review {self.name!r} {what}"

    def question(self, state: StateT) -> dict[str, Any]:
        """Return what a person is asked about a state: JSON, as the interrupt holds it."""
        value = values_of(state).get(self._field)
        return {
            "kind": REVIEW,
            "review": self.name,
            "question": self._function(state),
            "field": self._field,
            "value": plain(value),
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
        question = {**self.question(state), "path": here.path}
        wait, late = None, False
        session = here.session
        if self.promise is not None and session is None:
            here.check_kept(self.promise)
            raise InputError(f"{self.promise}, which only a session can keep: session.config(thread_id).")
        if self._deadline is not None and session is not None:
            wait = await self._deadline.begin("review", self.name, state, config, session)
            question["due"] = wait.until.isoformat()
            if wait.status == "over":
                return self._unanswered(wait)
            late = wait.status == "waiting" and session.now() >= wait.until
        if self._escalation is not None and session is not None and not late:
            question |= await self._escalation.ask(self.name, here, session)
        for number in count():
            if number:
                question["again"] = number
            try:
                answer = interrupt(question)
            except GraphInterrupt:
                if not late or wait is None or session is None:
                    raise
                await end_wait(session.journal, wait, "over", session.now())
                await self._end_asking(here)
                return self._unanswered(wait)
            try:
                self._check_question(question, number, here)
                verdict = self.read(answer)
            except InvalidVerdict as problem:
                question["problem"] = str(problem)
                continue
            if wait is not None and session is not None:
                await end_wait(session.journal, wait, "over" if late else "answered", session.now())
                if late:
                    raise too_late(wait)
            await self._end_asking(here)
            return verdict
        raise AssertionError("a review asks until it has an answer")

    async def _end_asking(self, here: RunContext) -> None:
        if self._escalation is not None and here.session is not None:
            await self._escalation.end(self.name, here, here.session)

    def _check_question(self, question: Mapping[str, Any], number: int, here: RunContext) -> None:
        """Raise InvalidVerdict for an answer to what was asked by another version, about something else."""
        if here.session is None:
            return
        questions = [
            value
            for value in asked_by(here.session.journal, here.thread_id, here.task)
            if isinstance(value, Mapping) and value.get("kind") == REVIEW and value.get("again", 0) == number
        ]
        if questions and any(questions[-1].get(part) != as_recorded(question[part]) for part in TAKES):
            raise InvalidVerdict("the answer was to what an earlier version asked. This is what it asks now.")

    def _unanswered(self, wait: WaitRecord) -> Verdict:
        """Return the verdict where nobody gave one in time."""
        reason = f"nobody answered until {wait.until.isoformat()}"
        label: Label = "expired"
        if self._default is not None:
            label = "approved" if self._default == "approve" else "rejected"
        return Verdict(label=label, comment=reason, reason=reason)

    def read(self, answer: Any) -> Verdict:
        """Return the verdict that an answer stands for. Raises InvalidVerdict, which says what is wrong."""
        parsed = parsed_answer(answer)
        comment, by = parsed.reason.strip(), parsed.by.strip()
        if parsed.decision == "reject" and not comment:
            raise InvalidVerdict("a rejection needs a reason.")
        reason = ": ".join(part for part in (_who(by, parsed), comment) if part)
        if parsed.decision == "reject":
            return Verdict(label="rejected", by=by, comment=comment, reason=reason)
        if parsed.decision == "approve":
            return Verdict(label="approved", by=by, comment=comment, reason=reason)
        try:
            value = validate_field(self.state, self._field, parsed.value)
        except ValidationError as error:
            raise InvalidVerdict(_problems(error, self._field)) from None
        reason = f"edited {reason}".rstrip()
        return Verdict(label="approved", by=by, comment=comment, reason=reason, edited=True, value=value)

    def update(self, value: Choice[Label]) -> Update:
        update: Update = {}
        if isinstance(value, Verdict):
            if value.edited:
                update[self._field] = value.value
            if self.writes:
                update[self.writes] = "" if value.approved else value.comment
        return update

    async def ainvoke(self, input: StateT, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        verdict = await self.answer(input, config)
        record_decision(config, "review", choice_of(verdict), reason=verdict.reason or None)
        return self.settled(input, verdict)

    def settled(self, state: StateT, verdict: Verdict) -> Update:
        """Return what a verdict writes. Raises Rejected, or DeadlinePassed, where nobody takes it."""
        if verdict.approved or (self.writes and not verdict.expired):
            return self.update(verdict)
        if verdict.expired:
            raise DeadlinePassed(
                f"Review {self.name!r}: {verdict.reason}. Say what happens then: review(…, otherwise=…), or "
                'a route with a branch for "expired".',
                review=self.name,
                due=verdict.reason.rpartition(" ")[2],
            )
        output, shown = shown_output(values_of(state), self._field)
        who = f" by {verdict.by}" if verdict.by else ""
        raise Rejected(
            f"Review {self.name!r}: {self._field} was rejected{who} ({verdict.comment}). It was: {shown}",
            step=self.name,
            reason=verdict.comment,
            output=output,
            by=verdict.by,
        )


def as_recorded(value: Any) -> Any:
    """Return a part of a question as the record has it."""
    return json.loads(json.dumps(value, default=repr))


def _who(by: str, answer: ReviewAnswer) -> str:
    """Return who decided, on what."""
    user = answer.user.strip()
    beside = [f"system user {user}" if user and user != by else "", answer.seen.strip()]
    details = "; ".join(filter(None, beside))
    who = f"by {by}" if by else ""
    return f"{who} ({details})".strip() if details else who


def choice_of(verdict: Verdict) -> str:
    """Return what goes on record as the choice."""
    return "edited" if verdict.edited else str(verdict.label)


def too_late(wait: WaitRecord) -> AnswerTooLate:
    """Return the error for an answer to a review whose deadline has passed."""
    due = wait.until.isoformat()
    goes = f"goes on without it: stepgraph resume {wait.thread_id}"
    gone = "has gone on without it" if wait.status == "over" else goes
    return AnswerTooLate(
        f"The review {wait.name!r} could be answered until {due}, so this answer comes too late, and the "
        f"thread {wait.thread_id!r} {gone}. To see where the answer would "
        "have led, fork the thread from before the review.",
        review=wait.name,
        due=due,
    )


def parsed_answer(answer: Any) -> ReviewAnswer:
    """Return an answer; True, False and the bare word of a decision will do where they say enough."""
    if isinstance(answer, bool):
        answer = "approve" if answer else "reject"
    if isinstance(answer, str):
        answer = {"decision": answer.strip().lower()}
    if isinstance(answer, BaseModel):
        answer = answer.model_dump()
    if not isinstance(answer, Mapping):
        raise InvalidVerdict(f"expected a decision, one of {', '.join(DECISIONS)}, got {answer!r:.80}.")
    try:
        parsed = ReviewAnswer.model_validate(dict(answer))
    except ValidationError as error:
        raise InvalidVerdict(_problems(error, "answer")) from None
    if (parsed.decision == "edit") != ("value" in parsed.model_fields_set):
        raise InvalidVerdict(
            "an edit needs a value." if parsed.decision == "edit" else "only an edit has a value."
        )
    return parsed


def _problems(error: ValidationError, name: str) -> str:
    return "; ".join(
        f"{'.'.join(map(str, (name, *item['loc'])))}: {item['msg']}, got {item['input']!r:.80}"
        for item in error.errors(include_url=False, include_context=False)[:5]
    )
