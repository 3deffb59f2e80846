"""Why an answer ended: what says that it is whole, that it was cut, or that the server gave it up.

An answer counts only with a reason that is known. The spellings: OpenAI's chat API; "eos" Together AI;
"end_turn", "stop_sequence", "tool_use", "max_tokens" Anthropic and gateways to it; the names in capitals
Gemini and gateways to it; "insufficient_system_resource" https://api-docs.deepseek.com/api/create-chat-completion;
"abort" vLLM and SGLang; "error" OpenRouter.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from .http import HTTPStatusError, MalformedBody

_MEANINGS: Final = {
    **dict.fromkeys(
        ("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "completed"), "stop"
    ),
    **dict.fromkeys(
        ("length", "max_tokens", "model_length", "max_output_tokens", "model_context_window_exceeded"),
        "length",
    ),
    **dict.fromkeys(("tool_calls", "function_call", "tool_use", "tool_call"), "tool_calls"),
    **dict.fromkeys(
        (
            "content_filter",
            "content_filtered",
            "safety",
            "image_safety",
            "image_prohibited_content",
            "image_recitation",
            "blocklist",
            "prohibited_content",
            "recitation",
            "spii",
            "guardrail",
            "guardrail_intervened",
        ),
        "content_filter",
    ),
    "refusal": "refusal",
}
_GIVEN_UP: Final = {
    "abort", "aborted", "cancelled", "canceled", "error", "timeout", "time_limit", "overloaded",
    "insufficient_system_resource", "network_error",
}  # fmt: skip


_CUT: Final = {"length", "content_filter", "refusal"}


def last_finish(before: str | None, reason: str) -> str:
    """Return the finish reason that counts of two in one stream: the later, unless it hides a cut."""
    cut = before is not None and (before.lower() in _GIVEN_UP or _MEANINGS.get(before.lower()) in _CUT)
    return before if before is not None and cut and reason.lower() not in _GIVEN_UP else reason


def is_known(reason: str) -> bool:
    """Tell whether anybody's finish reason is known, also one with which a server gives up."""
    return reason.lower() in _MEANINGS or reason.lower() in _GIVEN_UP


def checked_calls(finish: str | None, calls: Sequence[Any]) -> None:
    """Raise MalformedBody for an answer that ends to call tools, and has no call: it was lost on the way."""
    if finish == "tool_calls" and not calls:
        raise MalformedBody("it ends to call tools (finish_reason), and calls none")


def checked_finish(reason: str | None, *, always: bool, known: Collection[str] = ()) -> str | None:
    """Return an answer's finish reason in OpenAI's words; `known` are those that are the endpoint's own.

    Raises HTTPStatusError (503) where the server gave the answer up, MalformedBody for a reason that nobody
    knows, and for none where the endpoint `always` sends one.
    """
    if reason is None:
        if always:
            raise MalformedBody("it does not say why the answer ends (finish_reason), so it may be cut")
        return None
    if reason in known:
        return reason
    spelled = reason.lower()
    if spelled in _GIVEN_UP:
        message = f"the server gave the answer up before its end (finish_reason {reason!r})"
        body: dict[str, Any] = {"error": {"message": message}}
        raise HTTPStatusError(503, body, {})
    meaning = _MEANINGS.get(spelled)
    if meaning is None:
        raise MalformedBody(
            f"the answer ended for a reason that is not known (finish_reason {reason[:60]!r}), so it may "
            "not be whole; if it is, name the reason under capabilities.finish"
        )
    return meaning
