"""LangChain's messages in OpenAI's form, with what the conversion alone would lose on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from langchain_core.messages import (
    BaseMessage,
    HumanMessage,
    convert_to_messages,
    convert_to_openai_messages,
)

from ..providers.model import Message, Reply, ToolCall
from ..state.errors import InputError
from .content_blocks import wire_part

STATE: Final = "stepgraph_state"  # of a message: what its provider wants back with it
_LANGCHAINS: Final = {"id", "index", "annotations", "extras", "metadata"}  # not for a provider


def to_openai(messages: Iterable[BaseMessage]) -> tuple[Message, ...]:
    """Return the messages in OpenAI's form.

    Marks on parts, such as `cache_control`, stay, and so does what a provider wants back with its messages.
    """
    return tuple(_converted(message) for message in messages)


def prompt_messages(prompt: Sequence[Any]) -> tuple[Message, ...]:
    """Return a prompt in OpenAI's form: messages, and texts and content blocks, which those of the user are.

    Raises InputError for what is neither.
    """
    messages: list[BaseMessage] = []
    blocks: list[str | dict[str, Any]] = []

    def spoken() -> None:
        if blocks:
            messages.append(HumanMessage(list(blocks)))
            blocks.clear()

    for part in prompt:
        if isinstance(part, str):
            blocks.append({"type": "text", "text": part})
        elif isinstance(part, Mapping) and "type" in part and "role" not in part:
            blocks.append(dict(part))
        else:
            spoken()
            messages.append(_message(part))
    spoken()
    return to_openai(messages)


def _message(part: Any) -> BaseMessage:
    if isinstance(part, BaseMessage):
        return part
    try:
        return convert_to_messages([dict(part) if isinstance(part, Mapping) else part])[0]
    except (ValueError, TypeError, NotImplementedError):
        raise InputError(
            f"A prompt holds {type(part).__name__}: {part!r:.80}. Expected texts, LangChain messages, or "
            "content blocks such as {'type': 'image', 'base64': …, 'mime_type': 'image/png'}."
        ) from None


def state_of(reply: Reply, calls: Iterable[ToolCall]) -> dict[str, Any]:
    """Return a message's `additional_kwargs` that keep what the provider wants back with it and its calls."""
    extra = {call.id: dict(call.extra) for call in calls if call.extra}
    state = {"message": dict(reply.state), "calls": extra}
    return {STATE: state} if any(state.values()) else {}


def _converted(own: BaseMessage) -> dict[str, Any]:
    if isinstance(own.content, list):
        own = own.model_copy(update={"content": [wire_part(block) for block in own.content]})
    # Otherwise parts that are all text become one text.
    form: Literal["block", "string"] = "block" if _has_marks(own.content) else "string"
    try:
        converted: Any = convert_to_openai_messages([own], text_format=form)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"A message of type {own.type!r} in the prompt has content that cannot be sent: {error}"
        ) from None
    message: dict[str, Any] = converted[0]
    if isinstance(own.content, list) and isinstance(message["content"], list):
        message["content"] = _with_marks(own.content, message["content"])
    state = own.additional_kwargs.get(STATE, {})
    message |= state.get("message", {})
    for call in message.get("tool_calls", ()):
        call |= state.get("calls", {}).get(call["id"], {})
    if message["role"] == "tool":
        message.pop("name", None)  # which the strictest servers refuse
    return message


def _has_marks(content: Any) -> bool:
    known = {"type", "text", *_LANGCHAINS}
    parts = content if isinstance(content, list) else []
    return any(isinstance(part, Mapping) and part.keys() - known for part in parts)


def _with_marks(own: list[Any], converted: list[Any]) -> list[Any]:
    """Return the converted parts with the keys that a provider knows and LangChain does not."""
    if len(own) != len(converted):
        return converted
    return [_marked(part, target) for part, target in zip(own, converted, strict=True)]


def _marked(part: Any, target: Any) -> Any:
    if not isinstance(part, Mapping) or not isinstance(target, Mapping):
        return target
    same = part.get("type") == target.get("type")
    names = part.keys() - _LANGCHAINS if same else part.keys() & {"cache_control"}
    return {**{name: part[name] for name in part if name in names}, **target}
