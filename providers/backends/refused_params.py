"""Parameters that one model refuses and others take: learnt from its own answer, once, and said.

OpenAI's reasoning models refuse a temperature, newer models `max_tokens`, older servers
`max_completion_tokens`, Azure both at once. No list of models can keep up with that.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from .http import HTTPStatusError

LIMITS: Final = ("max_completion_tokens", "max_tokens")
# Without these a model still answers the question that was asked.
DISPENSABLE: Final = (
    "temperature",
    "top_p",
    "seed",
    "reasoning_effort",
    "verbosity",
    "frequency_penalty",
    "presence_penalty",
    "stream_options",
    "service_tier",
    "prompt_cache_key",
)
_REFUSING = re.compile(
    r"unsupported|not supported|(?:does|do) not (?:support|accept|allow)|unrecogni[sz]ed|unknown|"
    r"extra inputs|not permitted|not allowed|cannot (?:both )?be (?:used|specified|set)|incompatible|"
    r"unexpected|only the default|deprecated|not available|not applicable|invalid for (?:this|the) model",
    re.IGNORECASE,
)


class ParameterLeftOut(UserWarning):
    """A model does not take a parameter that it was given; it is asked without."""


class RefusedParams:
    """What one model at one endpoint has refused so far. It is known once in a process."""

    _known: ClassVar[dict[tuple[str, str], RefusedParams]] = {}

    def __init__(self, model: str, address: str) -> None:
        self._where = f"{model} at {address}"
        self._refused: set[str] = set()

    @classmethod
    def of(cls, model: str, address: str) -> RefusedParams:
        return cls._known.setdefault((model, address), cls(model, address))

    @classmethod
    def forget(cls) -> None:
        cls._known.clear()

    def without(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body of a request without what was refused; a limit gets its other spelling."""
        if not self._refused:
            return body
        fit = {name: value for name, value in body.items() if name not in self._refused}
        for spelling, other in (LIMITS, LIMITS[::-1]):
            if spelling in body and spelling in self._refused and other not in self._refused:
                fit[other] = body[spelling]
        return fit

    def learn(self, error: HTTPStatusError, body: Mapping[str, Any]) -> bool:
        """Note the parameter that an error refuses; tell whether to ask again without it."""
        if error.status not in (400, 422):
            return False
        name = _named(error.body, body)
        if name is None or name in self._refused:
            return False
        if name not in (*LIMITS, "prompt_cache_key"):  # which nobody set
            warnings.warn(
                f"{self._where} does not take {name} = {body[name]!r}: it is asked without. Leave it out of "
                "the settings and the question, or bind another model.",
                ParameterLeftOut,
                stacklevel=2,
            )
        self._refused.add(name)
        return True


def _named(answer: Any, body: Mapping[str, Any]) -> str | None:
    """Return the parameter that an error body refuses, if the request can do without it."""
    fault = answer.get("error", answer) if isinstance(answer, Mapping) else answer
    message = str(fault.get("message") or json.dumps(fault)) if isinstance(fault, Mapping) else str(fault)
    if not _REFUSING.search(message):
        return None
    param = str(fault.get("param") or "") if isinstance(fault, Mapping) else ""
    if all(re.search(rf"\b{name}\b", message) for name in LIMITS) and any(name in body for name in LIMITS):
        # One is named as the cure of the other: unless both are refused at once, the one sent is wrong.
        return param if param in LIMITS and param in body else next(n for n in LIMITS[::-1] if n in body)
    names = [*DISPENSABLE, *LIMITS]
    named = [name for name in names if name in body and (name == param or re.search(rf"\b{name}\b", message))]
    return param if param in named else next(iter(named), None)
