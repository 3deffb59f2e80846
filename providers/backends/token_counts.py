"""How many tokens a prompt has, counted before it is sent: by the model's own tokenizer, never guessed.

- OpenAI's models: the tokenizers in the package bpe-openai, which needs no files and no network. What OpenAI
  puts around a message was 3 tokens and its role in all models so far, and 3 at the end:
  https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
- vLLM: its /tokenize takes messages and tools: https://docs.vllm.ai/en/stable/serving/openai_compatible_server/
- llama.cpp: /apply-template makes the prompt of a request, /tokenize its tokens:
  https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp

from ..model import Message, Request
from .http import ChatClient, HTTPStatusError, MalformedBody

AROUND_TOKENS = 6  # what OpenAI puts around a message, and behind the last one, with as much again to spare
TIMEOUT_S = 10.0
_LASTING = frozenset({400, 401, 403, 404, 405, 422, 501})
_NAME = re.compile(r"^(?:openai[/:]|ft:)*(.*)$")
_ENCODINGS = (
    (re.compile(r"gpt-4o|gpt-4\.\d|gpt-5|chatgpt-4o|o[134](-|$)"), "o200k_base"),
    (re.compile(r"gpt-4(-|$)|gpt-3\.5"), "cl100k_base"),
)


class Encoding(Protocol):
    """A tokenizer."""

    def encode_ordinary(self, text: str) -> Sequence[int]: ...


def openai_encoding(model: str) -> str | None:
    """Return the name of the encoding of one of OpenAI's models, None for one that nobody here knows."""
    match = _NAME.match(model.lower())
    name = match[1] if match else model
    return next((encoding for pattern, encoding in _ENCODINGS if pattern.match(name)), None)


@cache
def _encoding(name: str) -> Encoding | None:
    if importlib.util.find_spec("bpe_openai") is None:
        return None
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of how it reads its data
        encoding: Encoding = importlib.import_module("bpe_openai").get_encoding(name)
    return encoding


async def openai_tokens(request: Request, model: str) -> int | None:
    """Return the most tokens that OpenAI makes of a request without media; None without its tokenizer.

    Nobody says what it makes of tools and schemas, so these count by their bytes.
    """
    name = openai_encoding(model)
    encoding = None if name is None else await asyncio.to_thread(_encoding, name)
    if encoding is None:
        return None
    return await asyncio.to_thread(_openai_tokens, request, encoding)


def _openai_tokens(request: Request, encoding: Encoding) -> int:
    total = AROUND_TOKENS
    for message in request.messages:
        texts, rest = _parted(message)
        total += AROUND_TOKENS + rest
        total += sum(len(encoding.encode_ordinary(text)) for text in texts)
    parts = (part for part in (request.schema, *request.tools) if part is not None)
    return total + sum(len(json.dumps(part, default=str)) for part in parts)


def _parted(message: Message) -> tuple[list[str], int]:
    """Return the texts of a message, and the bytes of all else that it holds but its role."""
    content = message.get("content")
    parts = content if isinstance(content, (list, tuple)) else [content]
    texts, rest = [], 0
    for part in parts:
        text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else part
        if isinstance(text, str):
            texts.append(text.encode("utf-8", "replace").decode())
        elif text is not None:
            rest += len(json.dumps(text, default=str))
    others = {name: value for name, value in message.items() if name not in ("role", "content")}
    return texts, rest + (len(json.dumps(others, default=str)) if others else 0)


class ServerTokenizer:
    """Asks a server of one's own; one that cannot tell is not asked again."""

    def __init__(
        self, kind: str, address: str, key: str | None, headers: Mapping[str, str] | None = None
    ) -> None:
        parts = urlsplit(address)
        root = parts._replace(path=parts.path.rstrip("/").removesuffix("/v1")).geturl()
        self._kind = kind
        self._template = ChatClient(root, key, headers, path="/apply-template")
        self._tokenize = ChatClient(root, key, headers, path="/tokenize")
        self._works = True

    async def count(self, body: Mapping[str, Any]) -> int | None:
        """Return the tokens of the prompt that the server makes of a request, None if it does not say."""
        if not self._works:
            return None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await (self._vllm(body) if self._kind == "vllm" else self._llama_cpp(body))
        except HTTPStatusError as error:
            self._works = error.status not in _LASTING
        except MalformedBody as error:
            self._works = not error.lasting
        except (
            aiohttp.ClientError,
            OSError,
            ValueError,
            TimeoutError,
        ):  # the call itself will say what is wrong with the server
            pass
        return None

    async def _vllm(self, body: Mapping[str, Any]) -> int | None:
        fields = {name: body[name] for name in ("model", "messages", "tools") if name in body}
        count = (await self._tokenize.ask({**fields, "add_generation_prompt": True})).get("count")
        return count if isinstance(count, int) and count > 0 else None

    async def _llama_cpp(self, body: Mapping[str, Any]) -> int | None:
        prompt = (await self._template.ask(body)).get("prompt")
        if not isinstance(prompt, str):
            return None
        fields = {"content": prompt, "add_special": True, "parse_special": True}
        tokens = (await self._tokenize.ask(fields)).get("tokens")
        return len(tokens) if isinstance(tokens, list) and tokens else None
