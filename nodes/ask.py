"""What a step returns: a question with a typed answer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from langchain_core.messages import BaseMessage
from pydantic import BaseModel, Field
from typing_extensions import TypeVar

from ..providers.dials import read_dials
from ..providers.model import Message, PrefixEnd
from ..state.errors import DefinitionError
from .openai_messages import prompt_messages
from .prefixes import with_prefix

T = TypeVar("T", covariant=True, default=str)
L = TypeVar("L", default=Any)  # pydantic validates by the default: as str, an Enum would lose its type


@dataclass(frozen=True)
class Ask(Generic[T]):
    """A question to a model; the step's return annotation, `Ask[T]`, says what type answers it.

    `prompt` is text, or a sequence of LangChain messages, texts and content blocks: images, sounds and
    documents, see `attachment`. `temperature` and `max_tokens` override
    the model's settings for this question, and so do `params`: reasoning_effort, seed, top_p, stop and others
    of a model's settings, and `extra_body`. Equal questions that are under way at the same time in one
    thread are asked once; give each a `sample` number of its own where every answer must be drawn
    anew, as in a vote. A text that the token limit cut is taken, and marked on record; `whole=True` has it
    asked for again, shorter.

    `check` is code that judges the answer once it fits its type, and knows what the step knows of the state.
    It returns True or None to take it, False or the reason not to; the model is told, and asked again within
    the step's `tries`.

    `prefix` is what many questions share, text or messages: a document, say. It goes first, the same byte for
    byte, so that the provider reads it once and has it in its cache for the others. Of those that are asked
    at the same time, one goes ahead until its answer begins.
    """

    prompt: str | Sequence[BaseMessage | Mapping[str, Any] | str]
    system: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    sample: int = 0
    params: Mapping[str, Any] | None = None
    whole: bool = False
    check: Callable[[T], bool | str | None] | None = None
    prefix: str | Sequence[BaseMessage | Mapping[str, Any] | str] | None = None

    def __post_init__(self) -> None:
        if inspect.iscoroutinefunction(self.check):
            raise DefinitionError(
                "Ask(check=…): what judges an answer is plain code. Take an async function as the check of a "
                "gate behind the step: chain(step, gate(check, repair=step))."
            )
        if self.params:
            object.__setattr__(self, "params", read_dials(self.params, "Ask(params=…)"))

    @property
    def origin(self) -> Mapping[str, Any] | None:
        """Where a managed prompt comes from; see tracing/export/prompts.py."""
        named = (getattr(part, "origin", None) for part in (self.prompt, self.system, self.prefix))
        return next(filter(None, named), None)

    def messages(self) -> tuple[Message, ...]:
        """Return the messages in OpenAI's form."""
        return self.parts()[0]

    def parts(self) -> tuple[tuple[Message, ...], PrefixEnd | None]:
        """Return the messages, and where in them the prefix ends."""
        prompt: tuple[Message, ...]
        if isinstance(self.prompt, str):
            prompt = ({"role": "user", "content": self.prompt},)
        else:
            prompt = prompt_messages(self.prompt)
        if self.prefix:
            return with_prefix(self.prefix, self.system, prompt)
        if self.system:
            prompt = ({"role": "system", "content": self.system}, *prompt)
        return prompt, None


class Choice(BaseModel, Generic[L]):
    """A decision with its confidence (0 to 1) and reason; `label` None means "I don't know"."""

    label: L | None
    confidence: float | None = Field(default=None, ge=0, le=1)
    reason: str = ""
