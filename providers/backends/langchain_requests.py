"""From a request to what LangChain's classes take: messages, and the arguments of a call."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, convert_to_messages
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.runnables import RunnableBinding, RunnableSequence

from ..model import Message
from .completion import split_thought, text_in
from .langchain_classes import OWN_FIELDS
from .message_state import LANGCHAIN, with_state
from .standard_blocks import standard_block
from .tool_calls import read_arguments
from .tool_media import with_media_beside


def to_langchain(messages: Sequence[Message], package: str, echo: Collection[str] = ()) -> list[BaseMessage]:
    """Return the messages in LangChain's form, with what the classes of this package want back.

    `echo` are fields that the endpoint itself wants back, see message_state.py.
    """
    if package == "langchain_openai":
        prepared: Sequence[Message] = with_media_beside(messages)
    else:
        prepared = [_without_blank(message) for message in _system_first(messages)]
    return [_converted(_encodable(message), package, echo) for message in prepared]


def _system_first(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages with those of the system at the front.

    The makers of other models know one system text beside the turns; their classes drop, or refuse, one that
    comes later.
    """
    return sorted(messages, key=lambda message: message["role"] not in ("system", "developer"))  # stable


def _without_blank(message: Message) -> Message:
    """Return a message that calls tools without blanks before the calls, which Anthropic refuses."""
    if message["role"] != "assistant" or not message.get("tool_calls"):
        return message
    held = message.get(LANGCHAIN)
    if isinstance(held, Mapping) and isinstance(held.get("content"), list):
        parts = [part for part in held["content"] if not _is_blank(part)]
        message = {**message, LANGCHAIN: {**held, "content": parts}}
    content = message.get("content")
    return {**message, "content": None} if isinstance(content, str) and not content.strip() else message


def _is_blank(part: Any) -> bool:
    if not isinstance(part, Mapping) or part.get("type") != "text" or part.keys() & _SIGNED:
        return False
    return not str(part.get("text") or "").strip()


_SIGNED = {"extras", "signature", "thought_signature"}


def _encodable(value: Any) -> Any:
    """Return the value with "?" for halves of surrogate pairs, as our own client sends them.

    The classes' clients fail at them, which would look like an answer that cannot be read.
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_encodable(name): _encodable(part) for name, part in value.items()}
    return [_encodable(part) for part in value] if isinstance(value, list | tuple) else value


def _converted(message: Message, package: str, echo: Collection[str]) -> BaseMessage:
    if message["role"] != "assistant":
        return convert_to_messages([_with_blocks(with_state(message, ()), package)])[0]
    good, bad = [], []
    for call in message.get("tool_calls") or ():
        function = call["function"]
        arguments, problem = read_arguments(function.get("arguments") or "")
        if problem is None:
            good.append(tool_call(name=function["name"], args=arguments, id=call.get("id")))
        else:
            args = function["arguments"]
            bad.append(invalid_tool_call(name=function["name"], args=args, id=call.get("id"), error=problem))
    held = message.get(LANGCHAIN)
    if not isinstance(held, Mapping) or held.get("by") != package or not _is_same(held, message):
        held = {}
    return AIMessage(
        held.get("content") or message.get("content") or "",
        tool_calls=good,
        invalid_tool_calls=bad,
        additional_kwargs={**(held.get("kwargs") or {}), **_own_fields(message, echo)},
        response_metadata=held.get("metadata") or {},
        id=held.get("id"),
    )


def _own_fields(message: Message, echo: Collection[str]) -> dict[str, Any]:
    """Return the fields of a message, and of its calls, that the endpoint wants back."""
    own = with_state(message, echo)
    fields = {name: own[name] for name in echo if name in own}
    calls = own.get("tool_calls") or ()
    if any(call.keys() & set(echo) for call in calls):
        fields["tool_calls"] = calls
    return {OWN_FIELDS: fields} if fields else {}


def _with_blocks(message: dict[str, Any], package: str) -> dict[str, Any]:
    """Return the message with standard blocks for media; OpenAI's own class knows its parts."""
    content = message.get("content")
    if package == "langchain_openai" or not isinstance(content, list | tuple):
        return message
    return {**message, "content": [standard_block(part) for part in content]}


def _is_same(held: Mapping[str, Any], message: Message) -> bool:
    """Tell whether the message still says what was said: one that was cut or written anew is another."""
    text = split_thought(str(AIMessage(held.get("content") or "").text))[0]
    return text.strip() == text_in(message.get("content")).strip()


def structured_arguments(chat: BaseChatModel, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what makes the class ask for a schema natively; None if it cannot."""
    try:
        structured: Any = chat.with_structured_output(dict(schema), method="json_schema")
    except Exception:  # each class has its own words for a method or a schema that it does not take
        return None
    bound = structured.first if isinstance(structured, RunnableSequence) else structured
    if not isinstance(bound, RunnableBinding) or "tools" in bound.kwargs:
        return None
    return {name: value for name, value in bound.kwargs.items() if name != "ls_structured_output_format"}


def tool_arguments(
    chat: BaseChatModel, functions: Sequence[dict[str, Any]], no_call: Any = None
) -> dict[str, Any]:
    """Return what makes the class offer tools; `no_call` is its word for that none may be called."""
    if no_call is None:
        bound: Any = chat.bind_tools(functions)
    else:
        choice: Any = dict(no_call) if isinstance(no_call, Mapping) else no_call
        bound = chat.bind_tools(functions, tool_choice=choice)
    return dict(bound.kwargs)
