"""Where each fact of the provider table comes from, for every row of it; or that nobody confirmed it.

A source is one of these:

- a package, its version, and the symbol that says it: `openai 3.52.0: openai.types…`
- a file of the provider's own, at a commit: `https://github.com/…/blob/<commit>/…`
- a page, and the day on which it was read: `https://… (2026-11-28)`
- `measured …`: what this repository's tests see at a real server
- `not confirmed`, with the page that is said to hold it, if there is one. Such a fact is how the provider is
  treated, and `stepgraph models conform` tells whether it is so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

NOT_CONFIRMED: Final = "not confirmed"
_READ: Final = "2026-11-28"
_CONFIRMED: Final = re.compile(
    r"[\w-]+ \d[\w.]*: [\w.]+"
    r"|https://github\.com/\S+/blob/[0-9a-f]{40}/\S+"
    r"|https://\S+ \(\d{4}-\d\d-\d\d\)"
    r"|measured .+"
)


def is_confirmed(source: str) -> bool:
    """Tell whether a source is one that somebody looked at, and that others can find again."""
    return _CONFIRMED.fullmatch(source) is not None


def read(page: str) -> str:
    """Return the source for a page that was read."""
    return f"{page} ({_READ})"


def unread(page: str) -> str:
    """Return what stands for a page that is said to hold a fact, and that nobody looked up for it."""
    return f"{NOT_CONFIRMED}: {page}"


def openai(symbol: str) -> str:
    return f"openai 3.52.0: openai.types.{symbol}"


def anthropic(symbol: str) -> str:
    return f"anthropic 2.14.0: anthropic.types.{symbol}"


def google(symbol: str) -> str:
    return f"google-genai 2.34.0: google.genai.types.{symbol}"


def langchain(symbol: str) -> str:
    return f"langchain-core 1.7.2: langchain_core.{symbol}"


def each(names: Iterable[str], source: str) -> dict[str, str]:
    return dict.fromkeys(names, source)


CREATE: Final = "chat.completion_create_params.CompletionCreateParamsBase"
OLLAMA: Final = (
    "https://github.com/ollama/ollama/blob/00988753ff743bf26117964f6e43f9ebf10bce30/openai/openai.go"
)
_OLLAMA_NOW: Final = "https://github.com/ollama/ollama/blob/fb30760996871fa9460115c753afd2c60d4ab0f7"
OLLAMAS_ERRORS: Final = f"{_OLLAMA_NOW}/openai/openai.go"
OLLAMAS_PROMPTS: Final = f"{_OLLAMA_NOW}/server/prompt.go"
_VLLMS: Final = "https://github.com/vllm-project/vllm/blob"
_VLLM: Final = (
    f"{_VLLMS}/002032ee2b18e1f7bd924ec47b62504ba3866063/vllm/entrypoints/openai/chat_completion/protocol.py"
)
_VLLMS_REQUEST: Final = (
    f"{_VLLMS}/d5dba2d7b0ab9b98096560c69db7126b54b14d79/vllm/entrypoints/openai/chat_completion/protocol.py"
)
_VLLMS_USAGE: Final = (
    f"{_VLLMS}/040a2cc2a6295ea9c313d86526ff90a103eacb3e/vllm/entrypoints/openai/engine/protocol.py"
)
VLLMS_ANSWERS: Final = (
    f"{_VLLMS}/5e918640d7b65820db5beaa98c2a99925bff7c17/vllm/entrypoints/openai/chat_completion/serving.py"
)
_VLLMS_TOKENS: Final = (
    f"{_VLLMS}/030ea52effcb05071543c8c42b8f0145e94cee43/vllm/entrypoints/serve/tokenize/protocol.py"
)
TOGETHER: Final = (
    "https://github.com/togethercomputer/openapi/blob/090263aa0fde006d9cd958bef52719958079bbc4/openapi.yaml"
)
_USAGE_ACCOUNTING: Final = read("https://openrouter.ai/docs/use-cases/usage-accounting")
_OPENROUTER: Final = (
    "https://github.com/OpenRouterTeam/typescript-sdk/blob/cb9393a896016155780a7fd04d3429ee2317b608/"
    ".speakeasy/in.openapi.yaml"
)
OPENROUTERS_ERRORS: Final = read("https://openrouter.ai/docs/api/reference/errors-and-debugging")
_OPENROUTERS_SCHEMAS: Final = read("https://openrouter.ai/docs/structured-outputs")
_DEEPSEEKS_CHAT: Final = unread("https://api-docs.deepseek.com/zh-cn/api/create-chat-completion")
_DEEPSEEKS_CLIENT: Final = (
    "https://github.com/deepseek-ai/deepseek-harness/blob/b150a551b8d465e31e418e1b2eaf5e79bbb7d28e/"
    "packages/llm/llm-deepseek/src"
)
DEEPSEEKS_WIRE: Final = f"{_DEEPSEEKS_CLIENT}/types.ts"
DEEPSEEKS_JSON: Final = read("https://api-docs.deepseek.com/guides/json_mode")
_DEEPSEEKS_CACHE: Final = read("https://api-docs.deepseek.com/guides/kv_cache/")
_AZURES_CACHE: Final = read("https://learn.microsoft.com/en-ca/Azure/foundry/openai/how-to/prompt-caching")
_LLAMA_CPP: Final = unread("https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md")
_BY_LANGCHAIN: Final = {
    "structured": langchain("language_models.model_profile.ModelProfile.structured_output"),
    "tools": langchain("language_models.model_profile.ModelProfile.tool_calling"),
    "stream_usage": langchain("messages.ai.UsageMetadata"),
    "cached": langchain("messages.ai.InputTokenDetails.cache_read"),
    "reasoning": langchain("messages.content.ReasoningContentBlock"),
}

SOURCES: Final[Mapping[str, Mapping[str, str]]] = {
    "openai": {
        **each(
            ("structured", "schema_in_prompt"),
            openai("shared_params.response_format_json_schema.ResponseFormatJSONSchema"),
        ),
        "strict": openai("shared_params.response_format_json_schema.JSONSchema.strict"),
        "tools": openai(f"{CREATE}.tools"),
        "logprobs": openai(f"{CREATE}.logprobs"),
        "stream_usage": openai(
            "chat.chat_completion_stream_options_param.ChatCompletionStreamOptionsParam.include_usage"
        ),
        "reasoning": openai("chat.chat_completion_message.ChatCompletionMessage"),
        "max_tokens": openai(f"{CREATE}.max_tokens"),
        "cached": openai("completion_usage.PromptTokensDetails.cached_tokens"),
        "cost": openai("completion_usage.CompletionUsage"),
        "tokenizer": "bpe-openai 0.1.4: bpe_openai.encoding_for_model",
        "echo": openai(
            "chat.chat_completion_assistant_message_param.ChatCompletionAssistantMessageParam"
        ),
        **each(("finish", "always_finishes"), openai("chat.chat_completion.Choice.finish_reason")),
        **each(("prefix_mark", "cache_key"), openai(f"{CREATE}.prompt_cache_key")),
        "schema_first": read(
            "https://community.openai.com/t/prompt-caching-not-applied-when-schema-changes/967577/2"
        ),
    },
    "openrouter": {
        **each(("structured", "strict", "schema_in_prompt"), _OPENROUTERS_SCHEMAS),
        **each(("tools", "logprobs", "max_tokens", "reasoning", "echo", "finish"), _OPENROUTER),
        **each(("stream_usage", "cached", "cost"), _USAGE_ACCOUNTING),
        "prefix_mark": read("https://openrouter.ai/docs/guides/features/prompt-caching.md"),
        "always_finishes": unread("https://openrouter.ai/announcements/standardized-finish-reasons"),
    },
    "together": {
        **each(
            ("structured", "strict", "logprobs", "max_tokens", "tools", "reasoning", "finish", "echo",
             "stream_usage", "cost", "prefix_mark", "cache_key"),
            TOGETHER,
        ),
        "schema_in_prompt": unread("https://docs.together.ai/docs/inference/chat/structured-outputs"),
        "always_finishes": unread("https://docs.together.ai/reference/chat-completions-1"),
    },
    "deepseek": {
        "structured": DEEPSEEKS_JSON,
        "tools": read("https://api-docs.deepseek.com/zh-cn/guides/tool_calls"),
        "strict": read("https://docs.rs/crate/rig-core/0.46.0/source/src/providers/deepseek.rs"),
        **each(("echo", "reasoning", "cached", "cost", "stream_usage", "max_tokens"), DEEPSEEKS_WIRE),
        "finish": f"{_DEEPSEEKS_CLIENT}/translate.ts",
        **each(("logprobs", "always_finishes"), _DEEPSEEKS_CHAT),
        **each(("prefix_mark", "cache_key"), _DEEPSEEKS_CACHE),
    },
    "vllm": {
        **each(
            ("structured", "logprobs", "stream_usage", "max_tokens", "tools", "finish", "always_finishes"),
            _VLLM,
        ),
        "reasoning": read("https://docs.vllm.ai/en/stable/features/reasoning_outputs/"),
        **each(("schema_in_prompt", "schema_first", "prefix_mark", "cache_key"), _VLLMS_REQUEST),
        **each(("cost", "strict"), _VLLMS_USAGE),
        "cached": VLLMS_ANSWERS,
        "tokenizer": _VLLMS_TOKENS,
        "echo": unread("https://docs.vllm.ai/en/v0.17.1/features/interleaved_thinking/"),
    },
    "ollama": {
        **each(
            ("structured", "strict", "tools", "stream_usage", "reasoning", "max_tokens", "cached", "cost",
             "echo", "finish", "always_finishes", "prefix_mark", "cache_key"),
            OLLAMA,
        ),
        "logprobs": read("https://docs.ollama.com/api/openai-compatibility"),
        "schema_in_prompt": f"{_OLLAMA_NOW}/docs/capabilities/structured-outputs.mdx",
    },
    "local": {
        "tools": "measured with SmolLM2-135M-Instruct, which ignores tools and tool_choice",
        **each(
            ("structured", "schema_in_prompt", "logprobs", "stream_usage", "max_tokens", "cached", "finish",
             "cost"),
            "measured at llama.cpp's server, by tests/providers/test_matrix.py",
        ),
        "tokenizer": "measured at llama.cpp's server, by tests/providers/backends/test_token_counts.py",
        **each(("echo", "always_finishes"), _LLAMA_CPP),
        "reasoning": unread("https://pypi.org/project/langchain-llama-cpp/"),
    },
    "azure_openai": {
        **_BY_LANGCHAIN,
        "max_tokens": openai(f"{CREATE}.max_completion_tokens"),
        "echo": "langchain-openai 1.7.3: langchain_openai.chat_models.base._convert_message_to_dict",
        **each(("prefix_mark", "cache_key"), _AZURES_CACHE),
        "strict": unread("https://learn.microsoft.com/en-us/azure/ai-foundry/openai/how-to/structured-outputs"),
        **each(
            ("finish", "always_finishes"),
            unread("https://learn.microsoft.com/en-us/azure/ai-foundry/openai/reference"),
        ),
    },
    "anthropic": {
        **_BY_LANGCHAIN,
        "max_tokens": anthropic("message_create_params.MessageCreateParamsBase.max_tokens"),
        **each(("logprobs", "cache_key"), anthropic("message_create_params.MessageCreateParamsBase")),
        "schema_in_prompt": anthropic("output_config_param.OutputConfigParam.format"),
        "prefix_mark": anthropic("text_block_param.TextBlockParam.cache_control"),
        "echo": "langchain-anthropic 1.7.7: langchain_anthropic.chat_models._format_messages",
        "cost": anthropic("usage.Usage"),
        **each(
            ("finish", "always_finishes"),
            read("https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons"),
        ),
    },
    "google_genai": {
        **_BY_LANGCHAIN,
        "max_tokens": google("GenerateContentConfig.max_output_tokens"),
        "cost": google("GenerateContentResponseUsageMetadata"),
        "finish": google("FinishReason"),
        "always_finishes": google("Candidate.finish_reason"),
        "schema_in_prompt": google("GenerateContentConfig.response_json_schema"),
        "strict": google("FunctionDeclaration"),
        "prefix_mark": google("Part"),
        "cache_key": google("GenerateContentConfig"),
        "echo": "langchain-google-genai 4.4.2: langchain_google_genai.chat_models._parse_chat_history",
    },
}  # fmt: skip


def sources_of(provider: str) -> Mapping[str, str]:
    """Return the sources of a provider's record; those of LangChain's classes have some in common."""
    return SOURCES.get(provider, _BY_LANGCHAIN)
