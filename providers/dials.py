"""What may be said to a model beside its messages: how hard to think, how to draw, what its maker takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, Field, ValidationError, field_validator

from ..state.errors import InputError, did_you_mean

# These have places of their own, and promises hang on them: budgets, streams, structured answers.
_TAKEN: Final = {
    "model": "the setting model",
    "messages": "the question's prompt",
    "stream": "stream_mode of the run",
    "stream_options": "capabilities.stream_usage",
    "response_format": "the question's type",
    "tools": "agent(tools=…)",
    "tool_choice": "agent(tools=…)",
    "n": "vote(…), which draws and pays for each answer by itself",
    "temperature": "as the question's or the model's temperature",
    "max_tokens": "as the question's or the model's max_tokens",
    "max_completion_tokens": "as the question's or the model's max_tokens",
}


class Dials(BaseModel, frozen=True, extra="forbid"):
    """Parameters of a call that change its answer; None leaves one to the model.

    `extra_body` holds whatever else the endpoint takes, as it goes over the wire.
    """

    reasoning_effort: str | None = Field(default=None, min_length=1)
    verbosity: str | None = Field(default=None, min_length=1)
    seed: int | None = None
    top_p: float | None = Field(default=None, gt=0, le=1)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    stop: tuple[str, ...] | None = None
    service_tier: str | None = Field(default=None, min_length=1)
    extra_body: Mapping[str, Any] | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("extra_body")
    @classmethod
    def _not_taken(cls, value: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        for name in value or ():
            if name in _TAKEN:
                raise ValueError(f"{name!r} is set elsewhere: {_TAKEN[name]}")
            if name in cls.model_fields:
                raise ValueError(f"{name!r} is a setting of its own: write it beside extra_body")
        return value

    def dials(self) -> dict[str, Any]:
        """Return those that are set, as JSON has them."""
        return self.model_dump(mode="json", include=set(Dials.model_fields), exclude_none=True)


def read_dials(params: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return what a question's `params` set. Raises InputError for a name or value that is none."""
    for name in params:
        if name in _TAKEN:
            raise InputError(f"{where}: {name!r} is no param: it is set elsewhere, {_TAKEN[name]}.")
        if name not in Dials.model_fields:
            raise InputError(
                f"{where}: unknown param {name!r}. {did_you_mean(name, Dials.model_fields)} What only your "
                'endpoint knows goes into "extra_body".'
            )
    try:
        return Dials.model_validate(params).dials()
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_url=False)
        )
        raise InputError(f"{where}: {problems}.") from None


def on_the_wire(*several: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a request's body; a later mapping goes before an earlier one."""
    body: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for dials in several:
        body |= {name: value for name, value in dials.items() if name != "extra_body"}
        extra |= dials.get("extra_body") or {}
    return {**extra, **body}
