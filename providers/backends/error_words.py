"""In which words servers say what is wrong, where a status alone does not tell.

Statuses are shared by many faults, and each server words them anew. Each phrase stands for those who use it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

# Fields in which a server sends back what it was sent, or what the model said: a user's words prove nothing.
_ECHOES: Final = {"input", "ctx", "flagged_input", "failed_generation"}
_MAX_DEPTH: Final = 20


def _any_of(*phrases: str) -> re.Pattern[str]:
    return re.compile("|".join(phrases), re.IGNORECASE)


TOO_LONG = _any_of(
    r"context[_ ](?:length|size|window|limit)",  # OpenAI, vLLM, SGLang, llama.cpp, LM Studio, MiniMax
    "maximum context", "context too long", "ContextOverflow",
    "prompt is too long", "input is too long",  # Anthropic; Bedrock
    "too many tokens", "request_too_large",  # Cohere; Anthropic
    "maximum number of tokens allowed", "input token count",  # Gemini
    "maximum model length", "max_tokens must be at least 1, got -",  # vLLM
    "`inputs` tokens", "`inputs` must have less than",  # Hugging Face's and Together AI's servers
    "maximum prompt length", "prompt exceeds max length",  # xAI; Z.ai
    "exceeded model token limit",  # Moonshot
    "range of input length should be",  # Alibaba
)  # fmt: skip
# More than a minute's tokens in one request, told as a rate limit, though no waiting helps: OpenAI
TOO_LONG_EVER = _any_of("input or output tokens must be reduced")
FILTERED = _any_of(
    r"content[_ ]?(?:filter|policy|management)", "moderation",  # OpenAI, Azure, Anthropic; OpenRouter
    "flagged as potentially violating",  # OpenAI, for models that reason
    "content exists risk", "data_?inspection_?failed",  # DeepSeek; Alibaba
    "violates usage guidelines", "不安全或敏感内容",  # xAI; Z.ai
)  # fmt: skip
NO_MONEY = _any_of(
    r"insufficient[_ ](?:quota|balance|credits|funds)", "exceeded your current quota",  # OpenAI, DeepSeek
    r"billing[_ ](?:hard[_ ]limit|not[_ ]active)",  # OpenAI
    "credit balance is too low", "reached your specified api usage limits",  # Anthropic
    "prepayment credits are depleted", "monthly included credits",  # Gemini; Hugging Face
    "exceeded_current_quota", "余额不足",  # Moonshot; Z.ai
    "arrearage", "any credits yet", "key limit exceeded",  # Alibaba; xAI; OpenRouter
)  # fmt: skip
BAD_KEY = _any_of("API_KEY_INVALID", "API key not valid", "incorrect api key")  # Gemini; xAI: 400
NO_MODEL = _any_of(
    "model_not_found", "model_decommissioned",  # OpenAI; Groq
    "model not exist", "model_not_available",  # DeepSeek; Together AI
    "not a valid model id", "invalid_model",  # OpenRouter; Mistral
)  # fmt: skip
# The model's own call of a tool, or its JSON, was none: asked again, it may do better. Groq
GARBLED = _any_of("tool_use_failed", "json_validate_failed")


def said_in(body: Any) -> str:
    """Return what an error body says, as text, without what it repeats of the question or the answer."""
    return json.dumps(_without_echoes(body), default=str, ensure_ascii=False)


def _without_echoes(body: Any, depth: int = 0) -> Any:
    if depth > _MAX_DEPTH:
        return None
    if isinstance(body, Mapping):
        return {name: _without_echoes(part, depth + 1) for name, part in body.items() if name not in _ECHOES}
    return [_without_echoes(part, depth + 1) for part in body] if isinstance(body, list) else body
