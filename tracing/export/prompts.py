"""Prompts that are kept in Langfuse: fetched, filled, and named in the trace with their version.

Langfuse is never in the way: what was fetched is kept and renewed in the background, and where there is
nothing to be had within a moment, the fallback in the code serves, and the call's record says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, overload

from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import convert_to_messages
from typing_extensions import TypeVar

from ...state.errors import DefinitionError, InputError, did_you_mean
from .langfuse_client import LangfuseClient
from .prompt_cache import LABEL, Key, PromptCache, Template
from .settings import langfuse_project

MAX_AGE_S = 60.0
WAIT_S = 2.0
NO_KEYS = "no keys for Langfuse are set"
_VARIABLE = re.compile(r"\{\{\s*(.*?)\s*\}\}")


class TextPrompt(str):
    """A filled prompt that knows where it comes from."""

    origin: Mapping[str, Any]

    def __new__(cls, text: str, origin: Mapping[str, Any] | None = None) -> TextPrompt:
        prompt = super().__new__(cls, text)
        prompt.origin = origin or {}
        return prompt


class ChatPrompt(list[BaseMessage]):
    """Filled messages that know where they come from."""

    def __init__(self, messages: Sequence[BaseMessage], origin: Mapping[str, Any]) -> None:
        super().__init__(messages)
        self.origin = origin


P = TypeVar("P", TextPrompt, ChatPrompt)


class ManagedPrompt(Generic[P]):
    """A prompt in Langfuse; call it with its variables. Made by `managed`."""

    def __init__(self, key: Key, fallback: Template, max_age_s: float, wait_s: float) -> None:
        self._key = key
        self._fallback = fallback
        self._max_age_s = max_age_s
        self._wait_s = wait_s

    def __repr__(self) -> str:
        return f"<managed prompt {self._key.name}>"

    def __call__(self, **variables: object) -> P:
        """Return the prompt with its variables filled: Langfuse's version, or the fallback.

        Raises InputError if the fallback wants a variable that is not given.
        """
        missing = _wanted(self._fallback) - variables.keys()
        if missing:
            name = min(missing)
            raise InputError(
                f"The prompt {self._key.name!r} wants {{{{{name}}}}}, which it was not given. "
                f"{did_you_mean(name, variables)}"
            )
        template, origin = self._resolve(set(variables))
        filled = _filled(template, {name: str(value) for name, value in variables.items()})
        prompt: Any = TextPrompt(filled, origin) if isinstance(filled, str) else ChatPrompt(filled, origin)
        return prompt  # type: ignore[no-any-return]

    def _resolve(self, variables: set[str]) -> tuple[Template, Mapping[str, Any]]:
        project = langfuse_project()
        entry = _shelf(project).get(self._key, self._max_age_s, self._wait_s) if project else NO_KEYS
        if isinstance(entry, str):
            return self._fallback, self._origin(fallback=entry)
        if isinstance(entry.template, str) != isinstance(self._fallback, str):
            kinds = ("text", "messages") if isinstance(entry.template, str) else ("messages", "text")
            reason = f"version {entry.version} is {kinds[0]}, the code expects {kinds[1]}"
            return self._fallback, self._origin(fallback=reason)
        if missing := _wanted(entry.template) - variables:
            reason = (
                f"version {entry.version} wants {', '.join(sorted(missing))}, which the code does not give"
            )
            return self._fallback, self._origin(fallback=reason)
        return entry.template, self._origin(version=entry.version)

    def _origin(self, **facts: Any) -> Mapping[str, Any]:
        return {"name": self._key.name, **({"label": self._key.label} if self._key.label else {}), **facts}


@overload
def managed(
    name: str,
    *,
    fallback: str,
    label: str | None = None,
    version: int | None = None,
    max_age_s: float = MAX_AGE_S,
    wait_s: float = WAIT_S,
) -> ManagedPrompt[TextPrompt]: ...


@overload
def managed(
    name: str,
    *,
    fallback: Sequence[tuple[str, str]],
    label: str | None = None,
    version: int | None = None,
    max_age_s: float = MAX_AGE_S,
    wait_s: float = WAIT_S,
) -> ManagedPrompt[ChatPrompt]: ...


def managed(
    name: str,
    *,
    fallback: str | Sequence[tuple[str, str]],
    label: str | None = None,
    version: int | None = None,
    max_age_s: float = MAX_AGE_S,
    wait_s: float = WAIT_S,
) -> ManagedPrompt[Any]:
    """Take a prompt from Langfuse's prompt management, by label ("production") or version.

    `fallback` is the prompt to use without Langfuse, with variables as there: {{body}}; a list of
    (role, text) for a chat prompt. The first use waits for Langfuse, `wait_s` at most, and later ones for
    nothing: after `max_age_s` the prompt is renewed in the background. Keys and address come from
    LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_BASE_URL. Raises DefinitionError.

        triage = managed("triage", fallback="Which team should answer this? {{body}}")

        @step("team")
        def classify(mail: Mail) -> Ask[Team]:
            return Ask(triage(body=mail.body))
    """
    if version is not None and label is not None:
        raise DefinitionError(f"managed({name!r}): give a label or a version, not both.")
    template: Template = fallback if isinstance(fallback, str) else tuple(fallback)
    if not name or not template:
        raise DefinitionError(f"managed({name!r}) needs a name, and a fallback for when Langfuse is away.")
    chosen_label = label if label is not None or version is not None else LABEL
    return ManagedPrompt(Key(name, version, chosen_label), template, max_age_s, wait_s)


@lru_cache(maxsize=8)
def _shelf(project: tuple[str, str, str]) -> PromptCache:
    return PromptCache(LangfuseClient(*project))


def _wanted(template: Template) -> set[str]:
    texts = [template] if isinstance(template, str) else [text for _, text in template]
    return {name for text in texts for name in _VARIABLE.findall(text)}


def _filled(template: Template, values: Mapping[str, str]) -> str | list[BaseMessage]:
    def fill(text: str) -> str:
        return _VARIABLE.sub(lambda match: values[match[1]], text)

    if isinstance(template, str):
        return fill(template)
    return convert_to_messages([(role, fill(text)) for role, text in template])
