"""A step: a pure function from state to a question, run by the toolkit as one graph node."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any, Generic, get_args, get_origin

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ..providers.model import CallContext, Model, Reply, ReplyCheck, Request
from ..providers.settings import DEFAULT_ROLE
from ..providers.stack.roles import as_model, find_model_async
from ..providers.stack.stack import ModelStack
from ..state.errors import BudgetExceeded, DefinitionError, InvalidAnswer, ModelError, UnboundRole
from ..state.run_context import RunContext
from ..state.schema import (
    StateType,
    accepts,
    caller_names,
    check_fields,
    fields_of,
    signature_types,
    values_of,
)
from ..state.serde import allow
from ..state.session.pauses import budget_interrupt
from ..state.state_checks import check_alias, check_kept
from .answers import AnswerForm, ValidationFailed, form_of
from .ask import Ask
from .asking_again import asked_again, correction
from .node import AnswerNode
from .revisions import Revision, revised, revising

T = TypeVar("T")

TRIES = 3


class Step(AnswerNode[StateT, T], Generic[StateT, T]):
    """One graph node that asks a model and writes the answer to a field of the state.

    Made by `step`. Works as a node of any LangGraph graph over the same state.
    """

    def __init__(
        self,
        function: Callable[[StateT], Ask[T]],
        writes: str,
        *,
        state: StateType,
        answer: Any,
        model: str | Model | Runnable[Any, AIMessage] | None,
        tries: int,
        cache_s: float | None,
        keeps_misfits: bool = False,
    ) -> None:
        self.__doc__ = function.__doc__
        self.name = function.__name__
        self.answer_type = answer
        self.writes: str = writes
        self.state = state
        self.tries = tries
        self.cache_s = cache_s
        self.keeps_misfits = keeps_misfits  # answers that do not fit are replayed as well, not asked for anew
        self._function = function
        self._form: AnswerForm = form_of(answer)
        self.role, self.own_model = _binding(model, self.name)

    def on(self, model: str | Model | Runnable[Any, AIMessage]) -> Step[StateT, T]:
        """Return this step on another model: `write.on("large")`."""
        other = copy.copy(self)
        other.role, other.own_model = _binding(model, self.name)
        return other

    def ask(self, state: StateT) -> Ask[T]:
        """Return the question for a state, without asking anyone: for tests of a prompt."""
        question = self._function(state)
        if not isinstance(question, Ask):
            raise DefinitionError(
                f"Step {self.name!r} returned {type(question).__name__}; expected Ask(prompt)."
            )
        question = revised(self._function, state, question)
        if not isinstance(question.prompt, (str, list, tuple)):
            raise DefinitionError(
                f"Step {self.name!r} asks {type(question.prompt).__name__}; expected text, or a "
                "list of texts, LangChain messages and content blocks."
            )
        if not isinstance(question.prefix, (str, list, tuple, type(None))):
            raise DefinitionError(
                f"Step {self.name!r} has the prefix {type(question.prefix).__name__}; expected text, or "
                "LangChain messages."
            )
        return question

    def revising(self, revision: Revision) -> AbstractContextManager[None]:
        """Have this step's questions revised in a block, wherever the step is used: to try another prompt."""
        return revising(self._function, revision)

    def request(self, state: StateT) -> Request:
        """Return the request that goes to the model for a state."""
        return self._request(self.ask(state))

    def _request(self, question: Ask[T]) -> Request:
        messages, prefix = question.parts()
        return Request(
            messages=messages,
            prefix=prefix,
            schema=self._form.schema,
            temperature=question.temperature,
            max_tokens=question.max_tokens,
            sample=question.sample,
            dials=question.params,
            prompt=question.origin,
            whole=question.whole,
            check=question.check,
        )

    async def answer(self, state: StateT, config: RunnableConfig | None = None) -> T:
        """Ask the model and return its answer; from inside a node the run's config is found.

        An answer that does not fit its type is asked for again, with what is wrong with it, at most
        `tries` times in all. Raises InvalidAnswer then, or a ModelError.
        """
        return await self.answer_to(self.request(state), config)

    async def again(self, state: StateT, reason: str, config: RunnableConfig | None = None) -> T:
        """Ask once more: the model sees the answer that the state holds, and why it will not do."""
        request = self.request(state)
        answer = self._form.text(values_of(state).get(self.writes))
        messages = (*request.messages, *correction(answer, reason))
        return await self.answer_to(replace(request, messages=messages), config)

    async def complete(self, request: Request, config: RunnableConfig | None = None) -> Reply:
        """Ask the step's model once, with a request of the caller's making, and return what comes back."""
        context = self._site(config)
        return await self._reply(await self.bound_model(context.config), request, context)

    async def answer_to(self, request: Request, config: RunnableConfig | None = None) -> T:
        """Like `answer`, for a request of the caller's making."""
        context = self._site(config, partial(self._verdict, request))
        model = await self.bound_model(context.config)
        messages = request.messages
        problems = ""
        replies: list[Reply] = []
        session = None if self.keeps_misfits else context.session
        journal = None if session is None else session.journal
        for _ in range(self.tries):
            reply = await self._reply(model, request, context)
            try:
                value: T = self._form.read(reply, request)
            except ValidationFailed as failure:
                problems = str(failure)
            else:
                return value
            replies.append(reply)
            if journal is not None and reply.call_id and not reply.replayed:
                journal.note_problem(context.thread_id, reply.call_id, problems)
            again = asked_again(messages, request, replies, problems, model)
            if again is None:
                break
            request = again
        if journal is not None:
            journal.reject(context.thread_id, [reply.call_id for reply in replies if reply.call_id])
        answers = tuple(reply.text for reply in replies)
        raise InvalidAnswer(
            f"Step {self.name!r}: {model.name} gave no valid {self._form.name} in {_times(len(replies))}. "
            f"Last problem: {problems.rstrip('.')}. Last answer: {answers[-1][:300]!r}. Simplify the type, "
            "show an example in the prompt, raise max_tokens, or use a stronger model.",
            step=self.name,
            answers=answers,
            problems=problems,
        )

    def _verdict(self, request: Request, reply: Reply) -> ReplyCheck:
        """Say whether a reply will do, and how sure it is, if its type has a field `confidence`."""
        try:
            value: Any = self._form.read(reply, request)
        except ValidationFailed as failure:
            return ReplyCheck(problem=str(failure))
        confidence = getattr(value, "confidence", None)
        return ReplyCheck(confidence=confidence if isinstance(confidence, (int, float)) else None)

    def _site(
        self, config: RunnableConfig | None, check: Callable[[Reply], ReplyCheck] | None = None
    ) -> CallContext:
        config = config or var_child_runnable_config.get()
        lifetime = self.cache_s if self.cache_s is not None else RunContext.of(config).cache_s
        return CallContext(step=self.name, role=self.role, config=config, cache_s=lifetime, check=check)

    @property
    def model_label(self) -> str:
        """What the step is bound to, as far as the definition says: a role, or a model's name."""
        return (self.role or DEFAULT_ROLE).lower() if self.own_model is None else self.own_model.name

    def is_same_question(self, other: Step[Any, Any]) -> bool:
        """Tell whether another step asks the same thing of the same model."""
        return self.has_prompt_of(other) and self.model_label == other.model_label

    def has_prompt_of(self, other: Step[Any, Any]) -> bool:
        """Tell whether another step's prompt comes from the same function."""
        return self._function is other._function

    async def bound_model(self, config: RunnableConfig | None) -> Model:
        """Return the model that answers in a run now. Raises UnboundRole."""
        if self.own_model is not None:
            return self.own_model
        try:
            return await find_model_async(self.role, RunContext.of(config))
        except UnboundRole as error:
            raise UnboundRole(f"Step {self.name!r}: {error}") from None

    async def _reply(self, model: Model, request: Request, context: CallContext) -> Reply:
        try:
            return await model.complete(request, context)
        except ModelError as error:
            error.args = (f"Step {self.name!r}: {error}",)
            raise
        except BudgetExceeded as ended:
            if context.run.checkpointer is None or not context.task:
                raise
            raise budget_interrupt(ended, context.task) from None

    def __repr__(self) -> str:
        return f"<step {self.name} -> {self.writes}>"


def _binding(
    model: str | Model | Runnable[Any, AIMessage] | None, step: str
) -> tuple[str | None, ModelStack | None]:
    """Return the role that a step asks, or else the model that its definition gives."""
    if model is None or isinstance(model, str):
        return model, None
    return None, as_model(model, step)


def _times(number: int) -> str:
    return "1 try" if number == 1 else f"{number} tries"


def step(
    writes: str,
    *,
    model: str | Model | Runnable[Any, AIMessage] | None = None,
    tries: int = TRIES,
    cache_s: float | None = None,
) -> Callable[[Callable[[StateT], Ask[T]]], Step[StateT, T]]:
    """Make a step of a function that turns the state into an `Ask[T]`.

    `writes` is the state field that takes the answer. `model` is a role ("small", "judge", …; None
    is the role "default"), a LangChain chat model, or a `Model`. `tries` bounds how often an answer
    is asked for in all when it does not fit its type. `cache_s` lets answers of other runs serve, if
    the request is equal and they are at most so many seconds old. Raises DefinitionError for a field
    that the state does not have, or whose type the answer does not fit.

        @step("outline", model="small")
        def plan(post: Post) -> Ask[str]:
            return Ask(f"Outline a post on {post.topic}.")
    """
    if callable(writes):
        raise DefinitionError('step needs the field it writes: @step("outline"), not @step.')
    if tries < 1:
        raise DefinitionError(f"step({writes!r}, tries={tries}): expected at least 1.")
    namespace = caller_names()

    def decorate(function: Callable[[StateT], Ask[T]]) -> Step[StateT, T]:
        if inspect.iscoroutinefunction(function):
            raise DefinitionError(
                f"Step {function.__name__!r} is async, but a step only builds the question. Fetch what "
                "it needs in a plain node before it: chain(fetch, step)."
            )
        state, returns = signature_types(function, namespace)
        if returns is Ask:
            returns = Ask[str]
        if get_origin(returns) is not Ask:
            raise DefinitionError(
                f"Step {function.__name__!r} must say what it asks for: annotate it `-> Ask[str]`, or "
                "Ask[YourType]."
            )
        answer = get_args(returns)[0]
        check_writes(function.__name__, state, writes, answer)
        return Step(function, writes, state=state, answer=answer, model=model, tries=tries, cache_s=cache_s)

    return decorate


def check_writes(name: str, state: StateType, writes: str, value: Any) -> None:
    """Raise DefinitionError unless the state has the field and it can hold the value's type."""
    check_fields(state, [writes], f"Step {name!r}")
    field = fields_of(state)[writes]
    if not accepts(field, value):
        shown, held = (getattr(type_, "__name__", type_) for type_ in (value, field))
        raise DefinitionError(
            f"Step {name!r} answers with {shown}, but {state.__name__}.{writes} is {held}. "
            "Give the field that type, or let the step write another field."
        )
    check_kept(state)
    check_alias(state)
    allow(state, value)
