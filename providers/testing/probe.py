"""One endpoint under examination: the ways to ask it, and what a check raises."""

from __future__ import annotations

import asyncio
from typing import Any

from ..backends.endpoint import Endpoint
from ..backends.http import ChatClient
from ..backends.http_errors import explained
from ..keys import find_key
from ..model import CallContext, Reply, Request
from ..provider_table import Overrides
from ..settings import ModelSettings, key_variable

SITE = CallContext("conformance")
HELLO = ({"role": "user", "content": "Say hello."},)
ANSWER_TOKENS = 256


class Unsupported(Exception):
    """The endpoint does not have it, and need not."""


class CheckFailed(Exception):
    """The endpoint has it wrong."""


class Probe:
    """One endpoint under examination."""

    def __init__(self, settings: ModelSettings, *, calls_at_once: int = 8) -> None:
        self.settings = settings
        self.calls_at_once = calls_at_once
        self.endpoint = Endpoint(settings)
        self.key = find_key(key_variable(settings), settings.model, settings.api_key)
        self.wire = ChatClient(self.endpoint.address, self.key)
        self.suggested: dict[str, Any] = {}

    async def ask(self, **body: Any) -> dict[str, Any]:
        """Ask in the very words of a check."""
        body = {"model": self.settings.model, "messages": HELLO, **body}
        async with asyncio.timeout(self.settings.timeout_s):
            return await self.wire.ask(body)

    async def complete(self, messages: Any = HELLO, **more: Any) -> Reply:
        """Ask as a workflow does."""
        return await self.endpoint.complete(
            Request(tuple(messages), **{"max_tokens": ANSWER_TOKENS, **more}), SITE
        )

    async def try_as(self, request: Request, *, key: str | None = None, **changes: Any) -> Reply:
        """Ask with another key or with other settings."""
        endpoint = Endpoint(self.settings.model_copy(update=changes), api_key=key or self.key)
        return await endpoint.complete(request, SITE)

    @property
    def suited(self) -> Overrides:
        """What the settings say of the endpoint, with all that was found so far."""
        return (self.settings.overrides or Overrides()).model_copy(update=self.suggested)

    def explain(self, error: Exception) -> str:
        secrets = [self.key] if self.key else []
        return str(explained(error, self.settings.model, address=self.endpoint.address, secrets=secrets))

    def limit(self, tokens: int = ANSWER_TOKENS) -> dict[str, int]:
        spelling = self.endpoint.can.max_tokens
        names = ("max_tokens", "max_completion_tokens") if spelling == "both" else (spelling,)
        return dict.fromkeys(names, tokens)
