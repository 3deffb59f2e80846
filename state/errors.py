"""Every error that stepgraph raises on purpose.

    StepgraphError
    ├── DefinitionError      a graph, step or pattern is put together wrongly
    │   └── NotSerializable      a checkpoint could not give back a value of the state as it is
    ├── InputError           a run's input does not fit the graph's state
    │   └── AnswerTooLate        a review is answered whose deadline has passed
    ├── SettingsError        the settings file or a model spec cannot be used
    │   └── UnboundRole      a step's model role has no model
    ├── ModelError           a model did not answer
    │   ├── ModelUnreachable     nothing answers at the address, or not in time
    │   ├── AuthenticationFailed          the key is wrong or missing, or may not do this
    │   ├── ModelNotFound         the server does not have that model
    │   ├── ModelUnavailable      rate limit or server error, still there after the retries
    │   │   ├── CircuitOpen          not asked: it failed too often just now, or too many wait for it
    │   │   └── BatchFailed          a batch ended without an answer: expired, canceled, lost
    │   ├── MalformedResponse         it answered, in a form that cannot be read
    │   └── ModelRefused         the server rejected the request itself
    │       ├── ContextTooLong       the request does not fit the model's context window
    │       └── ModelFiltered        a content filter, or the model itself, would not answer
    ├── InvalidAnswer        a model answered, never in the asked-for form
    ├── RetrievalFailed      a retriever did not answer, or not with passages
    ├── MCPServerFailed      a server with tools did not start, died or cannot be reached
    ├── GateFailed           a gate stopped a chain
    │   └── Rejected             a person rejected what they were asked to review
    ├── DeadlinePassed       nobody answered a review in time, and it does not say what then
    ├── BudgetExceeded          a call would have gone beyond a budget
    ├── NoRoute              a route knows no branch for a decision and has no fallback
    ├── BranchTimeout        a branch of a section, vote or fan-out, or an attempt, took too long
    ├── NoAnswer             none of the voters of a vote, or candidates of an ensemble, answered
    ├── GuardTripped         a guard stopped the generation beside it
    ├── SandboxUnavailable   model-written code cannot be kept apart here
    ├── ScriptError          a scripted model and the graph disagree
    ├── ThreadBusy           somebody else runs the thread
    │   └── ClaimLost            this process ran it, stood still, and somebody else took it over
    ├── GraphChanged         a thread would go on with another graph than it began with
    ├── MigrationFailed      a migration raised, or its state does not fit the new version
    ├── PromptChanged        a resumed call has the words of an answered one in another order
    ├── EngineUnreachable    no server answers that brings threads to workers
    ├── RunFailed            a run that was handed to workers failed there
    ├── EffectUnknown        nobody knows whether a side effect happened
    ├── FilesChanged         files are newer than what was read of them, so they are not written


    ├── ApplyRefused         an edit does not fit a file, or fits at more than one place
    └── StoreError           the SQLite file cannot be used

Messages say what was expected and what to do next. All of them survive pickling.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class StepgraphError(Exception):
    """The base of all errors that stepgraph raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[StepgraphError], args: tuple[Any, ...], attributes: dict[str, Any]) -> StepgraphError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class DefinitionError(StepgraphError):
    """A graph, step or pattern is put together wrongly."""


class NotSerializable(DefinitionError):
    """A checkpoint could not give back a value of the state equal and of the same type.

    `place` says where in the state it is, `type_name` of what type, `reason` why not and what to do;
    `node` is the node that wrote it, if that is known.
    """

    def __init__(
        self, message: str, *, place: str = "", type_name: str = "", reason: str = "", node: str = ""
    ) -> None:
        super().__init__(message)
        self.place, self.type_name, self.reason, self.node = place, type_name, reason, node

    @classmethod
    def of(cls, place: str, type_name: str, reason: str, node: str = "") -> NotSerializable:
        """Return the error for a part of a state, or of what a node wrote."""
        wrote = f"Node {node!r} wrote " if node else ""
        message = f"{wrote}{place or 'a value'}, of {type_name}, that a checkpoint cannot keep: {reason}."
        return cls(message, place=place, type_name=type_name, reason=reason, node=node)

    def within(self, field: str, node: str = "") -> NotSerializable:
        """Return the error for a value that a node wrote to a field of the state."""
        return self.of(field + self.place, self.type_name, self.reason, node)


class InputError(StepgraphError):
    """A run's input does not fit the graph's state."""


class AnswerTooLate(InputError):
    """An answer to a review whose deadline has passed, so it is not taken; `review` and `due` say which."""

    def __init__(self, message: str, *, review: str, due: str) -> None:
        super().__init__(message)
        self.review, self.due = review, due


class SettingsError(StepgraphError):
    """The settings file, the environment or a model spec cannot be used."""


class UnboundRole(SettingsError):
    """A step asks for a model role that nothing binds to a model."""


class ModelError(StepgraphError):
    """A model did not answer. `status` is the HTTP status, where there was one.

    `attempts` counts the calls that were made of it, and `lasting` is True where trying again cannot help.
    """

    attempts = 1
    lasting = False

    def __init__(self, message: str, *, model: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.model = model
        self.status = status


class ModelUnreachable(ModelError):
    """Nothing answers at the model's address, or it took too long."""


class AuthenticationFailed(ModelError):
    """The endpoint rejects the key."""


class ModelNotFound(ModelError):
    """The endpoint does not have the model."""


class ModelUnavailable(ModelError):
    """The endpoint reports a rate limit or an error of its own.

    `retry_after` is the wait in seconds that the server asked for, if it did. It is `crowded` where too many
    calls were under way at a time.
    """

    crowded = False

    def __init__(
        self,
        message: str,
        *,
        model: str = "",
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, model=model, status=status)
        self.retry_after = retry_after


class CircuitOpen(ModelUnavailable):
    """The model was not asked: it failed too often just now, or too many calls wait for it already."""

    attempts = 0


class BatchFailed(ModelUnavailable):
    """The batch of a call ended without an answer to it: it expired, was canceled, or lost it."""


class MalformedResponse(ModelError):
    """The endpoint answered in a form that cannot be read: half a JSON, no choices, a stream cut short."""


class ModelRefused(ModelError):
    """The endpoint rejects the request itself, so the same request cannot succeed."""


class ContextTooLong(ModelRefused):
    """The request does not fit the model's context window."""


class ModelFiltered(ModelRefused):
    """A content filter stopped the answer, or the model refused to give one."""


class InvalidAnswer(StepgraphError):
    """A model answered, but never in the form that the step asks for.

    `answers` holds every answer that it gave, `problems` what was wrong with the last.
    """

    def __init__(self, message: str, *, step: str, answers: tuple[str, ...], problems: str) -> None:
        super().__init__(message)
        self.step = step
        self.answers = answers
        self.problems = problems


class RetrievalFailed(StepgraphError):
    """A retriever failed, took too long, or gave what are no passages; `step` asked it."""

    def __init__(self, message: str, *, step: str, retriever: str) -> None:
        super().__init__(message)
        self.step = step
        self.retriever = retriever


class MCPServerFailed(StepgraphError):
    """An MCP server did not start, died, or cannot be reached.

    `server` is its name, `stderr` the last lines that it wrote there, if it is a process.
    """

    def __init__(self, message: str, *, server: str, stderr: str = "") -> None:
        super().__init__(message)
        self.server = server
        self.stderr = stderr


class DeadlinePassed(StepgraphError):
    """Nobody answered a review in time, and it does not say where the run goes then."""

    def __init__(self, message: str, *, review: str, due: str) -> None:
        super().__init__(message)
        self.review, self.due = review, due


class GateFailed(StepgraphError):
    """A gate stopped a chain; `output` is the intermediate state that it rejected."""

    def __init__(self, message: str, *, step: str, reason: str, output: dict[str, Any]) -> None:
        super().__init__(message)
        self.step = step
        self.reason = reason
        self.output = output


class Rejected(GateFailed):
    """A person rejected what a review asked about; `by` is who, as far as they said."""

    def __init__(self, message: str, *, step: str, reason: str, output: dict[str, Any], by: str = "") -> None:
        super().__init__(message, step=step, reason=reason, output=output)
        self.by = by


class BudgetExceeded(StepgraphError):
    """A call would have gone beyond a budget, so it was not made.

    `limit` names the limit, `budget` holds all limits, `spent` what was spent before. Of a budget that
    threads share (`is_shared`), `per` is the period, and `ends_at` says when that ends, in Unix seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        limit: str,
        scope: str,
        budget: dict[str, Any],
        spent: dict[str, Any],
        is_shared: bool = False,
        per: str | None = None,
        ends_at: int | None = None,
    ) -> None:
        super().__init__(message)
        self.is_shared, self.per, self.ends_at = is_shared, per, ends_at
        self.limit, self.scope, self.budget, self.spent = limit, scope, budget, spent


class NoRoute(StepgraphError):
    """A route's decision has no branch, and the route has no fallback."""


class BranchTimeout(StepgraphError):
    """A branch took longer than its pattern lets it."""


class NoAnswer(StepgraphError):
    """None of the voters of a vote, or candidates of an ensemble, answered; the message has their reasons."""


class GuardTripped(StepgraphError):
    """A guard stopped what ran beside it; `reason` is what the guard said."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class SandboxUnavailable(StepgraphError):
    """Code that a model wrote cannot be kept apart on this system."""


class ScriptError(StepgraphError):
    """A scripted model ran out of answers, or has answers left over."""


class ThreadBusy(StepgraphError):
    """A thread is being run already, here or in another process."""


class ClaimLost(ThreadBusy):
    """The run is not this process's any more: it stood still, or was forked, and another goes on with it.

    Nothing is paid for or written by it any more. What was paid for is on record.
    """


class GraphChanged(StepgraphError):
    """A thread would go on with a graph that differs from the one it ran with; `changes` says in what."""

    def __init__(self, message: str, *, changes: tuple[str, ...]) -> None:
        super().__init__(message)
        self.changes = changes


class MigrationFailed(StepgraphError):
    """A thread cannot go on with a new version: a migration raised, or what it returned does not fit.

    `thread`, `function` and `field` say where; the thread stays as it was. `field` is "" where it is none.
    """

    def __init__(self, message: str, *, thread: str, function: str, field: str) -> None:
        super().__init__(message)
        self.thread = thread
        self.function = function
        self.field = field


class PromptChanged(StepgraphError):
    """A resumed call has the words of one that was answered, in another order, so it was not made.

    `step` asks it; `before` and `now` show the first difference.
    """

    def __init__(self, message: str, *, step: str, before: str, now: str) -> None:
        super().__init__(message)
        self.step = step
        self.before = before
        self.now = now


class EffectUnknown(StepgraphError):
    """A side effect was begun and its end is not on record, so it is not done again; `key` names it."""

    def __init__(self, message: str, *, key: str) -> None:
        super().__init__(message)
        self.key = key


class FilesChanged(StepgraphError):
    """Files changed after they were read, so nothing is written over them; `files` names them."""

    def __init__(self, message: str, *, files: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.files = tuple(files)


class ApplyRefused(StepgraphError):
    """An edit was not merged into a file: `reason` says why, `hint` what would make it fit."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(f"{reason}; {hint}" if hint else reason)
        self.reason, self.hint = reason, hint


class EngineUnreachable(StepgraphError):
    """No server answers that brings threads to workers."""


class RunFailed(StepgraphError):
    """A run that was handed to workers failed there; `kind` is the class of its error."""

    def __init__(self, message: str, *, thread_id: str, kind: str) -> None:
        super().__init__(message)
        self.thread_id = thread_id
        self.kind = kind


class StoreError(StepgraphError):
    """The database cannot be used."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the hint that goes into an error about an unknown name, or the list of known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known: {', '.join(names)}." if names else "There are none."
