"""Local servers that behave on the wire as well-known providers do, where they differ from each other.

Each difference names the document or issue that it comes from. What answers is no model: it calls the
first tool that it is given, fits its answer to a schema if the provider enforces one, or if the prompt
spells one out, and says "ok" otherwise. It thinks before it answers, and remembers prompts, where the
provider reports thoughts and cached tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from stepgraph.providers.sources import (
    CREATE,
    DEEPSEEKS_JSON,
    DEEPSEEKS_WIRE,
    OLLAMA,
    OLLAMAS_ERRORS,
    OLLAMAS_PROMPTS,
    TOGETHER,
    VLLMS_ANSWERS,
    openai,
    read,
    unread,
)

from .imitator import WINDOW, Deviation, Imitator, call_of, delta_of, error
from .openrouter_imitator import OpenRouter
from .servers import Fault


class OpenAI(Imitator):
    provider = "openai"
    limits = ("max_completion_tokens",)
    deviations = (
        Deviation(
            "the newer models reject max_tokens: 400, unsupported_parameter",
            openai(f"{CREATE}.max_tokens"),
        ),
        Deviation(
            "a strict schema is refused unless it requires all fields, takes no others, and has no default",
            unread("https://platform.openai.com/docs/guides/structured-outputs#supported-schemas"),
        ),
        Deviation(
            "a context overflow is a 400 with the code context_length_exceeded",
            unread("https://github.com/crewAIInc/crewAI-examples/issues/121"),
        ),
        Deviation(
            "a stream has usage only if stream_options asks for it; its last chunk has no choices then",
            openai(
                "chat.chat_completion_stream_options_param.ChatCompletionStreamOptionsParam.include_usage"
            ),
        ),
        Deviation(
            "an empty account is a 429, like a rate limit, with the code insufficient_quota",
            unread("https://github.com/mattvr/ShellGPT/issues/23"),
        ),
        Deviation(
            "reasoning is counted (completion_tokens_details), never shown",
            openai("completion_usage.CompletionTokensDetails.reasoning_tokens"),
        ),
        Deviation(
            "cached tokens are in prompt_tokens_details, as a part of prompt_tokens",
            openai("completion_usage.PromptTokensDetails.cached_tokens"),
        ),
    )

    def refuse(self, body: Mapping[str, Any]) -> Fault | None:
        form = body.get("response_format", {}).get("json_schema", {})
        for given in (form, *(tool["function"] for tool in body.get("tools") or ())):
            schema = given.get("schema", given.get("parameters"))
            if given.get("strict") and (problem := not_strict(schema)):
                said = f"Invalid schema for response_format '{given['name']}': {problem}"
                return _openai_error(400, said, "invalid_request_error", "response_format", None)
        if "max_tokens" in body:
            said = (
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead."
            )
            return _openai_error(400, said, "invalid_request_error", "max_tokens", "unsupported_parameter")
        return None

    def denied(self, key: str) -> Fault:
        said = f"Incorrect API key provided: {key[:8]}****{key[-4:]}."
        return _openai_error(401, said, "invalid_request_error", None, "invalid_api_key")

    def missing(self, model: str) -> Fault:
        said = f"The model `{model}` does not exist or you do not have access to it."
        return _openai_error(404, said, "invalid_request_error", None, "model_not_found")

    def too_long(self, tokens: int) -> Fault:
        said = (
            f"This model's maximum context length is {WINDOW} tokens. However, your messages resulted in "
            f"{tokens} tokens. Please reduce the length of the messages."
        )
        return _openai_error(400, said, "invalid_request_error", "messages", "context_length_exceeded")

    def busy(self) -> Fault:
        said = "Rate limit reached for requests per min. Please try again in 20ms."
        return _openai_error(429, said, "requests", None, "rate_limit_exceeded", **{"retry-after": "0"})

    def broke(self) -> Fault:
        said = "You exceeded your current quota, please check your plan and billing details."
        return _openai_error(429, said, "insufficient_quota", None, "insufficient_quota")

    def usage(self, given: int, answered: int, cached: int, thought: int) -> dict[str, Any]:
        return {
            **super().usage(given, answered + 64, cached, thought),
            "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 64, "audio_tokens": 0},
        }


class VLLM(Imitator):
    provider = "vllm"
    takes_any_key = True
    reasoning_field = "reasoning"
    deviations = (
        Deviation(
            "reasoning is in the field reasoning; it was reasoning_content",
            read("https://docs.vllm.ai/en/stable/features/reasoning_outputs/"),
        ),
        Deviation(
            "tools are rejected unless the server was started for them: 400",
            unread("https://github.com/vllm-project/vllm/issues/9986"),
        ),
        Deviation(
            "errors were flat objects ({object: error, message, …}), without an error inside",
            unread("https://github.com/vllm-project/vllm/issues/4667"),
        ),
        Deviation(
            "a context overflow is a 400 whose code is the number 400; only the message tells",
            unread("https://github.com/harbor-framework/harbor/pull/996"),
        ),
        Deviation(
            "prompt_tokens_details is null unless --enable-prompt-tokens-details is set",
            VLLMS_ANSWERS,
        ),
    )

    def __init__(self, *, tool_parser: bool = True, token_details: bool = True) -> None:
        super().__init__()
        self._tool_parser = tool_parser
        self._token_details = token_details

    def refuse(self, body: Mapping[str, Any]) -> Fault | None:
        if body.get("tools") and body.get("tool_choice", "auto") != "none" and not self._tool_parser:
            said = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
            flat = {"object": "error", "message": said, "type": "BadRequestError", "param": None, "code": 400}
            return error(400, flat)
        return None

    def missing(self, model: str) -> Fault:
        said = f"The model `{model}` does not exist."
        return error(404, {"error": {"message": said, "type": "NotFoundError", "param": None, "code": 404}})

    def too_long(self, tokens: int) -> Fault:
        said = (
            f"You passed {tokens} input tokens and requested 10 output tokens. However, the model's context "
            f"length is only {WINDOW} tokens, resulting in a maximum input length of {WINDOW - 10} tokens. "
            f"Please reduce the length of the input prompt. (parameter=input_tokens, value={tokens})"
        )
        body = {"message": said, "type": "BadRequestError", "param": "input_tokens", "code": 400}
        return error(400, {"error": body})

    def busy(self) -> Fault:
        return error(503, {"error": {"message": "overloaded", "type": "ServiceUnavailable", "code": 503}})

    def usage(self, given: int, answered: int, cached: int, thought: int) -> dict[str, Any]:
        details = {"cached_tokens": cached} if self._token_details and cached else None
        return {**super().usage(given, answered, cached, thought), "prompt_tokens_details": details}

    def finish(self, choice: dict[str, Any]) -> dict[str, Any]:
        return {"logprobs": None, "stop_reason": None, **choice}


class DeepSeek(Imitator):
    provider = "deepseek"
    limits = ("max_tokens",)
    reasoning_field = "reasoning_content"
    comment = ": keep-alive"
    deviations = (
        Deviation(
            "a JSON schema is rejected: This response_format type is unavailable now",
            unread("https://github.com/llm-exe/llm-exe/issues/662"),
        ),
        Deviation(
            "JSON mode wants the word json in the prompt",
            DEEPSEEKS_JSON,
        ),
        Deviation(
            "reasoning is in the field reasoning_content",
            DEEPSEEKS_WIRE,
        ),
        Deviation(
            "cached tokens are prompt_cache_hit_tokens",
            DEEPSEEKS_WIRE,
        ),
        Deviation(
            "a thought must come back with a tool's call, also an empty one: 400",
            read("https://github.com/deepseek-ai/deepseek-harness/discussions/739"),
        ),
        Deviation(
            "while it works, empty lines come before the JSON and `: keep-alive` comments in a stream",
            read("https://api-docs.deepseek.com/quick_start/rate_limit"),
        ),
        Deviation(
            "an empty account is a 402, wrong parameters are a 422",
            read("https://platform.deepseek.com/api-docs/quick_start/error_codes"),
        ),
    )

    def padding(self) -> str:
        return "\n\n\n"

    def refuse(self, body: Mapping[str, Any]) -> Fault | None:
        form = body.get("response_format", {}).get("type")
        if form == "json_schema":
            return self.invalid("This response_format type is unavailable now")
        if form == "json_object" and "json" not in json.dumps(body["messages"]).lower():
            return self.invalid(
                "Prompt must contain the word 'json' in some form to use 'response_format' of type "
                "'json_object'."
            )
        for message in body["messages"]:
            if message.get("tool_calls") and "reasoning_content" not in message:
                return self.invalid(
                    "The `reasoning_content` in the thinking mode must be passed back to the API."
                )
        return None

    def invalid(self, message: str) -> Fault:
        return _openai_error(400, message, "invalid_request_error", None, "invalid_request_error")

    def denied(self, key: str) -> Fault:
        said = f"Authentication Fails, Your api key: ****{key[-4:]} is invalid"
        return _openai_error(401, said, "authentication_error", None, "invalid_request_error")

    def missing(self, model: str) -> Fault:
        return self.invalid("Model Not Exist")

    def too_long(self, tokens: int) -> Fault:
        return self.invalid(
            f"This model's maximum context length is {WINDOW} tokens. However, you requested {tokens} tokens "
            f"({tokens} in the messages, 0 in the completion). Please reduce the length of the messages or "
            "completion."
        )

    def busy(self) -> Fault:
        return _openai_error(429, "Rate limit reached", "rate_limit", None, "rate_limit")

    def broke(self) -> Fault:
        return _openai_error(402, "Insufficient Balance", "unknown_error", None, "invalid_request_error")

    def usage(self, given: int, answered: int, cached: int, thought: int) -> dict[str, Any]:
        return {
            **super().usage(given, answered, cached, thought),
            "prompt_cache_hit_tokens": cached,
            "prompt_cache_miss_tokens": given - cached,
            "completion_tokens_details": {"reasoning_tokens": thought},
        }


class Together(Imitator):
    provider = "together"
    limits = ("max_tokens",)
    reasoning_field = "reasoning"
    enforces_schema = False
    deviations = (
        Deviation(
            "the schema must be in the prompt as well as in response_format",
            unread("https://docs.together.ai/docs/inference/chat/structured-outputs"),
        ),
        Deviation(
            "reasoning is in the field reasoning",
            TOGETHER,
        ),
        Deviation(
            "a model that is not served is a 400 with the code model_not_available",
            unread("https://github.com/HeyPuter/puter/issues/3168"),
        ),
    )

    def denied(self, key: str) -> Fault:
        said = "Invalid API key provided. You can find your API key at https://api.together.ai/settings/api-keys."
        return _together_error(401, said, "invalid_request_error", "invalid_api_key")

    def missing(self, model: str) -> Fault:
        said = f"Unable to access non-serverless model {model}. Please visit https://api.together.ai/models"
        return _together_error(400, said, "invalid_request_error", "model_not_available")

    def too_long(self, tokens: int) -> Fault:
        said = (
            f"The sum of prompt length ({tokens}) and max tokens exceeds maximum context length ({WINDOW})."
        )
        return _together_error(422, said, "invalid_request_error", None)

    def busy(self) -> Fault:
        return _together_error(429, "You have reached the rate limit.", "rate_limit", "rate_limit_exceeded")


class Ollama(Imitator):
    provider = "ollama"
    takes_any_key = True
    limits = ("max_tokens",)
    reasoning_field = "reasoning"
    reports_overflow = False
    deviations = (
        Deviation(
            "max_completion_tokens is not among the fields that it reads",
            read("https://docs.ollama.com/api/openai-compatibility"),
        ),
        Deviation("any key will do", read("https://docs.ollama.com/api/openai-compatibility")),
        Deviation(
            "a prompt beyond num_ctx is cut without a word",
            OLLAMAS_PROMPTS,
        ),
        Deviation(
            "a model that was not pulled is a 404 of the type not_found_error",
            OLLAMAS_ERRORS,
        ),
        Deviation(
            "reasoning is in the field reasoning",
            OLLAMA,
        ),
        Deviation(
            "a streamed tool call comes whole, in one chunk",
            OLLAMA,
        ),
    )

    def missing(self, model: str) -> Fault:
        said = f'model "{model}" not found, try pulling it first'
        return error(
            404, {"error": {"message": said, "type": "not_found_error", "param": None, "code": None}}
        )

    def busy(self) -> Fault:
        said = "server busy, please try again.  maximum pending requests exceeded"
        return error(503, {"error": {"message": said, "type": "api_error", "param": None, "code": None}})

    def call_chunks(self, call: tuple[str, dict[str, Any]]) -> Iterable[dict[str, Any]]:
        yield delta_of({"tool_calls": [{**call_of(call), "index": 0}]})


IMITATORS: tuple[type[Imitator], ...] = (OpenAI, VLLM, DeepSeek, Together, OpenRouter, Ollama)


def _openai_error(
    status: int, message: str, kind: str, param: str | None, code: str | None, **headers: str
) -> Fault:
    body = {"message": message, "type": kind, "param": param, "code": code}
    return error(status, {"error": body}, **headers)


def not_strict(schema: Any) -> str | None:
    """Return why a schema is not one that strict decoding takes."""
    if isinstance(schema, list):
        return next(filter(None, map(not_strict, schema)), None)
    if not isinstance(schema, Mapping):
        return None
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        return "'additionalProperties' is required to be supplied and to be false."
    if schema.get("type") == "object" and set(schema["required"]) != set(schema["properties"]):
        return "'required' is required to be supplied and to be an array including every key in properties."
    if unknown := {"default", "minLength", "maxLength", "oneOf", "allOf"} & schema.keys():
        return f"'{sorted(unknown)[0]}' is not permitted."
    parts = [part for name, part in schema.items() if name not in ("properties", "$defs")]
    named = [part for name in ("properties", "$defs") for part in schema.get(name, {}).values()]
    return not_strict([*parts, *named])


def _together_error(status: int, message: str, kind: str, code: str | None) -> Fault:
    body = {"message": message, "type": kind, "param": None, "code": code}
    return error(status, {"id": "okkMWqL-2kFHot", "error": body})
