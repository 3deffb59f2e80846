"""OpenRouter on loopback, made from its documentation."""

from __future__ import annotations

from typing import Any

from stepgraph.providers.sources import OPENROUTERS_ERRORS, read, unread

from .imitator import WINDOW, Deviation, Imitator, error
from .servers import Fault


class OpenRouter(Imitator):
    provider = "openrouter"
    limits = ("max_tokens",)
    reasoning_field = "reasoning"
    streams_usage = "always"
    comment = ": OPENROUTER PROCESSING"
    deviations = (
        Deviation(
            "usage with the cost in dollars comes with every answer, streamed or not, unasked",
            read("https://openrouter.ai/docs/use-cases/usage-accounting"),
        ),
        Deviation(
            "`: OPENROUTER PROCESSING` comments in a stream",
            unread("https://openrouter.ai/docs/api-reference/streaming"),
        ),
        Deviation(
            "once it has begun, an error comes with a 200: in the body, or as a chunk",
            OPENROUTERS_ERRORS,
        ),
        Deviation(
            "the reason of an upstream error is in error.metadata.raw",
            unread("https://github.com/open-webui/computer/issues/293"),
        ),
        Deviation(
            "an empty account is a 402",
            OPENROUTERS_ERRORS,
        ),
    )

    def denied(self, key: str) -> Fault:
        return error(401, {"error": {"message": "No auth credentials found", "code": 401}})

    def missing(self, model: str) -> Fault:
        return error(400, {"error": {"message": f"{model} is not a valid model ID", "code": 400}})

    def too_long(self, tokens: int) -> Fault:
        said = (
            f"This endpoint's maximum context length is {WINDOW} tokens. However, you requested about "
            f"{tokens} tokens ({tokens} of text input). Please reduce the length of either one."
        )
        return error(400, {"error": {"message": said, "code": 400}})

    def busy(self) -> Fault:
        raw = "z-ai/glm is temporarily rate-limited upstream. Please retry shortly."
        metadata = {"raw": raw, "provider_name": "Upstream"}
        return error(
            200, {"error": {"message": "Provider returned error", "code": 429, "metadata": metadata}}
        )

    def broke(self) -> Fault:
        return error(402, {"error": {"message": "Insufficient credits. Add more.", "code": 402}})

    def usage(self, given: int, answered: int, cached: int, thought: int) -> dict[str, Any]:
        return {
            **super().usage(given, answered, cached, thought),
            "cost": 0.00125,
            "cost_details": {"upstream_inference_cost": None},
            "is_byok": False,
            "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": thought},
        }

    def finish(self, choice: dict[str, Any]) -> dict[str, Any]:
        return {"native_finish_reason": choice["finish_reason"], **choice}
