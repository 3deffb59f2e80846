"""LangChain's chat model classes by provider: the package that knows each, and what it calls what all have.

The names are those of `langchain.chat_models.init_chat_model`. They stand here because that function would
bring the whole package langchain along, and hands a constructor's parameters on unchecked; a test compares
both. A new provider is one entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, Final


@dataclass(frozen=True)
class ChatClass:
    """One class.

    `api_key_env` is the variable that holds the key; None where the class finds its credentials itself.
    `prices` is the provider in genai-prices, `address` where it is asked unless the settings say otherwise.
    `model` and `endpoint` are the constructor's names for the model and for the address, `limit` is a
    call's name for the most tokens of an answer, `dials` are settings that a call takes beside the
    constructor's, `no_call` is its word for a question that may call no tool. With `maker` it is made by that
    class method.
    """

    module: str
    name: str
    api_key_env: str | None = None
    prices: str | None = None
    address: str = ""
    address_env: str | None = None
    model: str = "model"
    endpoint: str | None = None
    limit: str = "max_tokens"
    dials: tuple[str, ...] = ()
    no_call: Any = "none"
    maker: str | None = None

    @property
    def package(self) -> str:
        """The name under which the package is imported."""
        return self.module.partition(".")[0]

    @property
    def is_installed(self) -> bool:
        return find_spec(self.package) is not None

    @property
    def install(self) -> str:
        """The line that installs the package."""
        return f"pip install {self.package.replace('_', '-')}"


OPENAI: Final = ChatClass(
    "langchain_openai",
    "ChatOpenAI",
    api_key_env="OPENAI_API_KEY",
    prices="openai",
    endpoint="base_url",
    limit="max_completion_tokens",
)

# https://github.com/langchain-ai/langchain/blob/master/libs/langchain_v1/langchain/chat_models/base.py; where
# each keeps its key: https://docs.langchain.com/oss/python/integrations/chat
CHAT_CLASSES: Final[Mapping[str, ChatClass]] = {
    "openai": OPENAI,
    "azure_openai": ChatClass(
        "langchain_openai",
        "AzureChatOpenAI",
        api_key_env="AZURE_OPENAI_API_KEY",
        prices="azure",
        address_env="AZURE_OPENAI_ENDPOINT",
        endpoint="azure_endpoint",
        limit="max_completion_tokens",
    ),
    "anthropic": ChatClass(
        "langchain_anthropic",
        "ChatAnthropic",
        api_key_env="ANTHROPIC_API_KEY",
        prices="anthropic",
        address="https://api.anthropic.com",
        address_env="ANTHROPIC_BASE_URL",
        endpoint="base_url",
        dials=("service_tier", "extra_body"),
        no_call=MappingProxyType({"type": "none"}),
    ),
    "google_genai": ChatClass(
        "langchain_google_genai",
        "ChatGoogleGenerativeAI",
        api_key_env="GOOGLE_API_KEY",
        prices="google",
        address="https://generativelanguage.googleapis.com",
        endpoint="base_url",
        limit="max_output_tokens",
    ),
    "google_vertexai": ChatClass("langchain_google_vertexai", "ChatVertexAI", prices="google"),
    "google_anthropic_vertex": ChatClass(
        "langchain_google_vertexai.model_garden", "ChatAnthropicVertex", prices="google"
    ),
    "bedrock": ChatClass("langchain_aws", "ChatBedrock", prices="aws"),
    "bedrock_converse": ChatClass("langchain_aws", "ChatBedrockConverse", prices="aws"),
    "anthropic_bedrock": ChatClass("langchain_aws", "ChatAnthropicBedrock", prices="aws"),
    "bedrock_mantle_anthropic": ChatClass("langchain_aws", "ChatAnthropicMantle", prices="aws"),
    "bedrock_mantle_openai": ChatClass("langchain_aws", "ChatOpenAIMantle", prices="aws"),
    "azure_ai": ChatClass("langchain_azure_ai.chat_models", "AzureAIOpenAIApiChatModel", prices="azure"),
    "baseten": ChatClass("langchain_baseten", "ChatBaseten", "BASETEN_API_KEY", prices="baseten"),
    "cohere": ChatClass("langchain_cohere", "ChatCohere", "COHERE_API_KEY", prices="cohere"),
    "deepseek": ChatClass("langchain_deepseek", "ChatDeepSeek", "DEEPSEEK_API_KEY", prices="deepseek"),
    "fireworks": ChatClass("langchain_fireworks", "ChatFireworks", "FIREWORKS_API_KEY", prices="fireworks"),
    "groq": ChatClass("langchain_groq", "ChatGroq", "GROQ_API_KEY", prices="groq"),
    "huggingface": ChatClass(
        "langchain_huggingface", "ChatHuggingFace", model="model_id", maker="from_model_id"
    ),
    "ibm": ChatClass("langchain_ibm", "ChatWatsonx", model="model_id"),
    "litellm": ChatClass("langchain_litellm", "ChatLiteLLM"),
    "meta": ChatClass("langchain_meta", "ChatMetaModel", prices="meta"),
    "mistralai": ChatClass("langchain_mistralai", "ChatMistralAI", "MISTRAL_API_KEY", prices="mistral"),
    "nvidia": ChatClass("langchain_nvidia_ai_endpoints", "ChatNVIDIA", "NVIDIA_API_KEY"),
    "ollama": ChatClass("langchain_ollama", "ChatOllama", limit="num_predict"),
    "openrouter": ChatClass(
        "langchain_openrouter", "ChatOpenRouter", "OPENROUTER_API_KEY", prices="openrouter"
    ),
    "perplexity": ChatClass("langchain_perplexity", "ChatPerplexity", "PPLX_API_KEY", prices="perplexity"),
    "together": ChatClass("langchain_together", "ChatTogether", "TOGETHER_API_KEY", prices="together"),
    "upstage": ChatClass("langchain_upstage", "ChatUpstage", "UPSTAGE_API_KEY"),
    "xai": ChatClass("langchain_xai", "ChatXAI", "XAI_API_KEY", prices="x-ai"),
}
# LangSmith's gateway is no provider: it is an address of other providers.
LEFT_OUT: Final = {"langsmith"}


def chat_class(provider: str | None) -> ChatClass:
    """Return the class for a provider; OpenAI's for an endpoint that is compatible with it."""
    return CHAT_CLASSES.get(provider or "", OPENAI)
