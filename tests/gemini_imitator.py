"""Google's Gemini on loopback, made from its documentation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from stepgraph.providers.sources import google, unread

from .imitator import THOUGHT, WINDOW, Deviation, Said, error
from .native_imitator import SIGNATURE, Native, words_in
from .servers import Fault


class Gemini(Native):
    provider = "google_genai"
    model = "gemini-3.5-flash"
    paths = ("/v1beta/models/{model}",)
    root = ""
    limits = ("max_output_tokens",)
    deviations = (
        Deviation(
            "a wrong key is a 400, API_KEY_INVALID",
            unread("https://ai.google.dev/gemini-api/docs/troubleshooting"),
        ),
        Deviation(
            "a blocked prompt is a 200 without candidates; promptFeedback says why",
            google("GenerateContentResponse.prompt_feedback"),
        ),
        Deviation(
            "a thought's signature must come back with the function's call",
            google("Part.thought_signature"),
        ),
        Deviation(
            "the body of a 429 says when to try again (RetryInfo)",
            unread("https://ai.google.dev/gemini-api/docs/rate-limits"),
        ),
        Deviation(
            "thoughts are counted apart from the answer, and shown if includeThoughts asks for them",
            google("GenerateContentResponseUsageMetadata.thoughts_token_count"),
        ),
    )

    def key_in(self, request: web.Request) -> str:
        return request.headers.get("x-goog-api-key", "")

    def read(self, body: dict[str, Any], request: web.Request) -> dict[str, Any]:
        model, _, method = request.match_info["model"].partition(":")
        messages = [{"role": "system", "content": _parts(body.get("systemInstruction", {}))}]
        for content in body["contents"]:
            answers = any("functionResponse" in part for part in content["parts"])
            messages.append({"role": "tool" if answers else content.get("role"), "content": _parts(content)})
        config = body.get("generationConfig", {})
        tools = [
            {
                "function": {
                    "name": f["name"],
                    "parameters": f.get("parametersJsonSchema") or _lower(f.get("parameters")),
                }
            }
            for tool in body.get("tools") or ()
            for f in tool.get("functionDeclarations", ())
        ]
        mode = body.get("toolConfig", {}).get("functionCallingConfig", {}).get("mode", "AUTO")
        read = {
            "model": model,
            "messages": messages,
            "tools": tools,
            "tool_choice": mode.lower(),
            "raw": body,
        }
        schema = config.get("responseJsonSchema")
        if schema:
            read["response_format"] = {"json_schema": {"schema": schema}}
        if "maxOutputTokens" in config:
            read["max_output_tokens"] = config["maxOutputTokens"]
        return {**read, "stream": method.startswith("stream")}

    def refuse(self, body: Mapping[str, Any]) -> Fault | None:
        for content in body["raw"]["contents"]:
            for part in content["parts"]:
                if "functionCall" in part and part.get("thoughtSignature") != SIGNATURE:
                    return self.invalid("Function call is missing a thought_signature in functionCall parts.")
        return None

    def invalid(self, message: str) -> Fault:
        return _googles(400, "INVALID_ARGUMENT", message)

    def denied(self, key: str) -> Fault:
        return _googles(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")

    def missing(self, model: str) -> Fault:
        return _googles(404, "NOT_FOUND", f"models/{model} is not found for API version v1beta")

    def too_long(self, tokens: int) -> Fault:
        said = f"The input token count ({tokens}) exceeds the maximum number of tokens allowed ({WINDOW})."
        return self.invalid(said)

    def busy(self) -> Fault:
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.02s"}]
        said = "You exceeded your current quota, please check your plan and billing details."
        return _googles(429, "RESOURCE_EXHAUSTED", said, details=details)

    def filtered(self) -> Fault:
        return Fault(body=json.dumps({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}))

    def whole(self, said: Said, counts: Mapping[str, int], body: Mapping[str, Any]) -> dict[str, Any]:
        return self._part_of(self._content(said, body), said.finish_reason, counts)

    def events(
        self, said: Said, counts: Mapping[str, int], body: Mapping[str, Any]
    ) -> Iterable[Mapping[str, Any]]:
        for part in self._content(said, body):
            if set(part) == {"text"}:
                for word in words_in(part["text"]):
                    yield self._part_of([{"text": word}], None, counts)
            else:
                yield self._part_of([part], None, counts)
        yield self._part_of([{"text": ""}], said.finish_reason, counts)

    def _part_of(self, parts: list[Any], finish: str | None, counts: Mapping[str, int]) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
        if finish:
            candidate["finishReason"] = "MAX_TOKENS" if finish == "length" else "STOP"
        usage = {
            "promptTokenCount": counts["given"],
            "candidatesTokenCount": counts["answered"] - counts["thought"],
            "thoughtsTokenCount": counts["thought"],
            "cachedContentTokenCount": counts["cached"],
            "totalTokenCount": counts["given"] + counts["answered"],
        }
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": self.model}

    def _content(self, said: Said, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        thinking = body["raw"].get("generationConfig", {}).get("thinkingConfig", {})
        shown = thinking.get("includeThoughts") or thinking.get("include_thoughts")
        parts: list[dict[str, Any]] = [{"text": THOUGHT, "thought": True}] if shown else []
        if said.text:
            parts.append({"text": said.text})
        if said.tool_call:
            call = {"name": said.tool_call[0], "args": said.tool_call[1]}
            parts.append({"functionCall": call, "thoughtSignature": SIGNATURE})
        return parts


def _googles(status: int, kind: str, message: str, **more: Any) -> Fault:
    return error(status, {"error": {"code": status, "message": message, "status": kind, **more}})


def _parts(content: Mapping[str, Any]) -> str:
    return " ".join(str(part.get("text", "")) for part in content.get("parts", ()))


def _lower(schema: Any) -> Any:
    """Return a schema of Gemini's with JSON Schema's names of types."""
    if isinstance(schema, Mapping):
        return {
            name: value.lower() if name == "type" and isinstance(value, str) else _lower(value)
            for name, value in schema.items()
        }
    return [_lower(part) for part in schema] if isinstance(schema, list) else schema
