"""Local servers with the wires of LangChain's classes: Azure's, Anthropic's, Gemini's, OpenAI's Responses.

As in tests/imitators.py, each says where its behaviour is documented. They enforce what the providers do: the
key's header, signatures and encrypted reasoning that must come back with a tool's result, limits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from stepgraph.providers.sources import anthropic, openai, unread

from .gemini_imitator import Gemini
from .imitator import THOUGHT, WINDOW, Deviation, Imitator, Said, error
from .imitators import OpenAI
from .native_imitator import SIGNATURE, Native, texts_in, words_in
from .servers import Fault


class Azure(OpenAI):
    provider = "azure_openai"
    model = "gpt-4o-mini"
    paths = ("/openai/deployments/{deployment}/chat/completions",)
    root = "?api-version=2025-04-01-preview"
    deviations = (
        Deviation(
            "the key is in the header api-key; the deployment is in the path, the version in the query",
            "openai 3.52.0: openai.lib.azure.AzureOpenAI",
        ),
        Deviation(
            "a filtered prompt is a 400 with the code content_filter",
            unread("https://learn.microsoft.com/en-us/azure/ai-foundry/openai/concepts/content-filter"),
        ),
    )

    def key_in(self, request: web.Request) -> str:
        return request.headers.get("api-key", "") if "api-version" in request.query else ""

    def filtered(self) -> Fault:
        said = (
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
        )
        inner = {"message": said, "type": None, "param": "prompt", "code": "content_filter", "status": 400}
        return error(400, {"error": inner})


class Anthropic(Native):
    provider = "anthropic"
    model = "claude-haiku-4-5"
    paths = ("/v1/messages",)
    root = ""
    limits = ("max_tokens",)
    deviations = (
        Deviation(
            "the key is in the header x-api-key, or a bearer token, as its own client sends it",
            "anthropic 2.14.0: anthropic.Anthropic.auth_headers",
        ),
        Deviation(
            "max_tokens is required", anthropic("message_create_params.MessageCreateParamsBase.max_tokens")
        ),
        Deviation(
            "input_tokens leaves out what was read from the cache or written to it",
            "langchain-anthropic 1.7.7: langchain_anthropic.chat_models._create_usage_metadata",
        ),
        Deviation(
            "thinking that came with a tool's call must come back with its signature",
            anthropic("thinking_block_param.ThinkingBlockParam.signature"),
        ),
        Deviation(
            "a schema goes into output_config.format, and every object in it takes no other fields",
            anthropic("message_create_params.MessageCreateParamsBase.output_config"),
        ),
        Deviation(
            "an error may come in a stream that has begun: the event error, with overloaded_error",
            anthropic("shared.overloaded_error.OverloadedError"),
        ),
    )

    def key_in(self, request: web.Request) -> str:
        return request.headers.get("x-api-key") or super().key_in(request)

    def read(self, body: dict[str, Any], request: web.Request) -> dict[str, Any]:
        messages: list[dict[str, Any]] = []
        if body.get("system"):
            messages.append({"role": "system", "content": texts_in(body["system"])})
        for message in body["messages"]:
            parts = message["content"] if isinstance(message["content"], list) else []
            role = "tool" if any(part["type"] == "tool_result" for part in parts) else message["role"]
            messages.append({"role": role, "content": texts_in(message["content"])})
        tools = [
            {"function": {"name": tool["name"], "parameters": tool["input_schema"]}}
            for tool in body.get("tools", ())
        ]
        schema = (body.get("output_config") or {}).get("format", {}).get("schema")
        form = {"response_format": {"json_schema": {"schema": schema}}} if schema else {}
        choice = (body.get("tool_choice") or {}).get("type", "auto")
        read = {**body, "messages": messages, "tools": tools, "tool_choice": choice, **form, "raw": body}
        return read if body.get("stream") else {**read, "stream": False}

    def refuse(self, body: Mapping[str, Any]) -> Fault | None:
        raw = body["raw"]
        if "max_tokens" not in raw:
            return self.invalid("max_tokens: Field required")
        schema = (raw.get("output_config") or {}).get("format", {}).get("schema")
        if schema and schema.get("additionalProperties") is not False:
            return self.invalid("output_config.format.schema: 'additionalProperties' must be false")
        if (raw.get("thinking") or {}).get("type") == "enabled":
            for message in raw["messages"]:
                kinds = [p["type"] for p in message["content"] if isinstance(p, dict)]
                if message["role"] == "assistant" and "tool_use" in kinds and kinds[0] != "thinking":
                    return self.invalid("Expected `thinking`, but found `tool_use`")
                for part in message["content"] if "thinking" in kinds else ():
                    if part["type"] == "thinking" and part.get("signature") != SIGNATURE:
                        return self.invalid("Invalid `signature` in `thinking` block")
        return None

    def invalid(self, message: str) -> Fault:
        return _claudes(400, "invalid_request_error", message)

    def denied(self, key: str) -> Fault:
        return _claudes(401, "authentication_error", "invalid x-api-key")

    def missing(self, model: str) -> Fault:
        return _claudes(404, "not_found_error", f"model: {model}")

    def too_long(self, tokens: int) -> Fault:
        return self.invalid(f"prompt is too long: {tokens} tokens > {WINDOW} maximum")

    def busy(self) -> Fault:
        return _claudes(429, "rate_limit_error", "would exceed your rate limit", **{"retry-after": "0"})

    def broke(self) -> Fault:
        return self.invalid("Your credit balance is too low to access the Anthropic API.")

    def filtered(self) -> Fault:
        return self.invalid("Output blocked by content filtering policy")

    def broken_stream(self) -> Fault:
        """An answer that begins, and is given up."""
        start = {"id": "m", "type": "message", "role": "assistant", "model": self.model, "content": []}
        start |= {
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
        fault = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        events = ({"type": "message_start", "message": start}, fault)
        lines = (f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        return Fault(body="".join(lines), content_type="text/event-stream")

    def whole(self, said: Said, counts: Mapping[str, int], body: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": f"{self.model}-20251001",
            "content": self._blocks(said, body),
            "stop_reason": _STOPS[said.finish_reason],
            "stop_sequence": None,
            "usage": _claude_usage(counts),
        }

    def events(
        self, said: Said, counts: Mapping[str, int], body: Mapping[str, Any]
    ) -> Iterable[Mapping[str, Any]]:
        message = self.whole(said, counts, body)
        empty = {
            **message,
            "content": [],
            "stop_reason": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
        yield {"type": "message_start", "message": empty}
        for index, block in enumerate(message["content"]):
            yield from _block_events(index, block)
        ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
        yield {"type": "message_delta", "delta": ended, "usage": message["usage"]}
        yield {"type": "message_stop"}

    def _blocks(self, said: Said, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        thinks = (body["raw"].get("thinking") or {}).get("type") == "enabled"
        blocks = [{"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE}] if thinks else []
        if said.text:
            blocks.append({"type": "text", "text": said.text})
        if said.tool_call:
            name, given = said.tool_call
            blocks.append({"type": "tool_use", "id": "toolu_1", "name": name, "input": given})
        return blocks


_STOPS = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens"}


def _claude_usage(counts: Mapping[str, int]) -> dict[str, Any]:
    return {
        "input_tokens": counts["given"] - counts["cached"],
        "cache_read_input_tokens": counts["cached"],
        "cache_creation_input_tokens": 0,
        "output_tokens": counts["answered"],
    }


def _block_events(index: int, block: dict[str, Any]) -> Iterable[dict[str, Any]]:
    kind = block["type"]
    start = {"thinking": {"thinking": "", "signature": ""}, "text": {"text": ""}, "tool_use": {"input": {}}}[
        kind
    ]
    yield {"type": "content_block_start", "index": index, "content_block": {**block, **start}}
    if kind == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in words_in(block["thinking"])]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    elif kind == "text":
        deltas = [{"type": "text_delta", "text": piece} for piece in words_in(block["text"])]
    else:
        given = json.dumps(block["input"])
        pieces = (given[at : at + 5] for at in range(0, len(given), 5))
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _claudes(status: int, kind: str, message: str, **headers: str) -> Fault:
    return error(status, {"type": "error", "error": {"type": kind, "message": message}}, **headers)


class Responses(OpenAI, Native):
    """OpenAI's Responses API."""

    model = "gpt-5-mini"
    paths = ("/v1/responses",)
    limits = ("max_output_tokens",)
    deviations = (
        Deviation(
            "reasoning is an item of its own; without storage it is encrypted, and goes back so",
            openai("responses.response_reasoning_item.ResponseReasoningItem.encrypted_content"),
        ),
        Deviation(
            "an answer that is cut has the status incomplete, with its reason in incomplete_details",
            openai("responses.response.IncompleteDetails.reason"),
        ),
    )

    def read(self, body: dict[str, Any], request: web.Request) -> dict[str, Any]:
        messages: list[dict[str, Any]] = []
        for item in body["input"]:
            kind = item.get("type", "message")
            if kind == "message":
                messages.append({"role": item["role"], "content": texts_in(item["content"])})
            elif kind == "function_call_output":
                messages.append({"role": "tool", "content": item["output"]})
        form = (body.get("text") or {}).get("format", {})
        read = {**body, "messages": messages, "raw": body}
        read["tools"] = [
            {"function": {"name": t["name"], "parameters": t["parameters"]}} for t in body.get("tools") or ()
        ]
        if form.get("type") == "json_schema":
            read["response_format"] = {"json_schema": form}
        return read

    def refuse(self, body: Mapping[str, Any]) -> Fault | None:
        raw = body["raw"]
        if raw.get("store") is not False or "reasoning.encrypted_content" not in (raw.get("include") or ()):
            return self.invalid("this account keeps no data: store must be false")
        items = raw["input"]
        for before, item in zip([{}, *items], items, strict=False):
            if item.get("type") == "function_call" and before.get("encrypted_content") != SIGNATURE:
                return self.invalid("Item 'function_call' was provided without its required 'reasoning' item")
        return None

    def usage(self, given: int, answered: int, cached: int, thought: int) -> dict[str, Any]:
        return Native.usage(self, given, answered, cached, thought)

    _whole = Native._whole
    _stream_out = Native._stream_out

    def whole(self, said: Said, counts: Mapping[str, int], body: Mapping[str, Any]) -> dict[str, Any]:
        summary = [{"type": "summary_text", "text": THOUGHT}]
        items: list[dict[str, Any]] = [
            {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": SIGNATURE}
        ]
        if said.text:
            part = {"type": "output_text", "text": said.text, "annotations": []}
            items.append(
                {
                    "type": "message",
                    "id": "m_1",
                    "role": "assistant",
                    "status": "completed",
                    "content": [part],
                }
            )
        if said.tool_call:
            name, given = said.tool_call
            made = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "status": "completed"}
            items.append({**made, "name": name, "arguments": json.dumps(given)})
        cut = said.finish_reason == "length"
        return {
            **self._frame("incomplete" if cut else "completed"),
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": items,
            "usage": {
                "input_tokens": counts["given"],
                "input_tokens_details": {"cached_tokens": counts["cached"]},
                "output_tokens": counts["answered"],
                "output_tokens_details": {"reasoning_tokens": counts["thought"]},
                "total_tokens": counts["given"] + counts["answered"],
            },
        }

    def _frame(self, status: str) -> dict[str, Any]:
        frame = {"id": "resp_1", "object": "response", "created_at": 1, "model": self.model, "status": status}
        fixed = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None}
        return {**frame, **fixed, "output": [], "instructions": None, "metadata": {}}

    def events(
        self, said: Said, counts: Mapping[str, int], body: Mapping[str, Any]
    ) -> Iterable[Mapping[str, Any]]:
        response = self.whole(said, counts, body)
        number = iter(range(10**6))

        def event(kind: str, **more: Any) -> dict[str, Any]:
            return {"type": f"response.{kind}", "sequence_number": next(number), **more}

        yield event("created", response=self._frame("in_progress"))
        for at, item in enumerate(response["output"]):
            begun = {**item, "content": [], "summary": [], "arguments": ""}
            begun = {name: value for name, value in begun.items() if name in item}
            where = {"output_index": at, "item_id": item["id"]}
            yield event("output_item.added", output_index=at, item=begun)
            if item["type"] == "reasoning":
                empty = {"type": "summary_text", "text": ""}
                yield event("reasoning_summary_part.added", **where, summary_index=0, part=empty)
                for word in words_in(THOUGHT):
                    yield event("reasoning_summary_text.delta", **where, summary_index=0, delta=word)
            elif item["type"] == "message":
                empty = {"type": "output_text", "text": "", "annotations": []}
                yield event("content_part.added", **where, content_index=0, part=empty)
                for word in words_in(item["content"][0]["text"]):
                    yield event("output_text.delta", **where, content_index=0, delta=word, logprobs=[])
            else:
                for start in range(0, len(item["arguments"]), 5):
                    piece = item["arguments"][start : start + 5]
                    yield event("function_call_arguments.delta", **where, delta=piece)
            yield event("output_item.done", output_index=at, item=item)
        yield event("completed" if response["status"] == "completed" else "incomplete", response=response)


CLASS_IMITATORS: tuple[type[Imitator], ...] = (Responses, Azure, Anthropic, Gemini)


# Settings with which each shows its thoughts.
THINKING: dict[str, Any] = {
    "anthropic": {"params": {"thinking": {"type": "enabled", "budget_tokens": 1024}}},
    "google_genai": {"params": {"include_thoughts": True}},
    "openai": {"params": {"use_responses_api": True}},
}
