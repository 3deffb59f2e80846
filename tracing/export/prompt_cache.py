"""What was fetched of Langfuse's prompts: kept in memory, renewed in the background."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from urllib.parse import quote

from ...state.errors import StepgraphError
from .langfuse_client import LangfuseClient

LABEL = "production"
AGAIN_S = 30.0  # after a failure

Template = str | tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Key:
    """Which prompt: the version, else the one that has the label now."""

    name: str
    version: int | None
    label: str | None


@dataclass(frozen=True)
class FetchedPrompt:
    """A prompt as Langfuse has it: text, or roles with texts; variables stand as {{name}}."""

    template: Template
    version: int


@dataclass
class _Entry:
    """What is known of one prompt, and whether it is being fetched."""

    value: FetchedPrompt | str = "it has not been fetched yet"
    fetched_at: float = 0.0
    known: threading.Event = field(default_factory=threading.Event)
    under_way: bool = False


class PromptCache:
    """The prompts of one Langfuse project. While it does not answer, nobody waits for it."""

    def __init__(self, client: LangfuseClient) -> None:
        self._client = client
        self._entries: dict[Key, _Entry] = {}
        self._lock = threading.Lock()
        self._down = False

    def get(self, key: Key, max_age_s: float, wait_s: float) -> FetchedPrompt | str:
        """Return the prompt, or why there is none; waits only for the first answer of all."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            age = time.monotonic() - entry.fetched_at
            fixed = key.version is not None and isinstance(entry.value, FetchedPrompt)
            lasts = max_age_s if isinstance(entry.value, FetchedPrompt) else min(max_age_s, AGAIN_S)
            due = not entry.known.is_set() or (age > lasts and not fixed)
            start = due and not entry.under_way
            entry.under_way = entry.under_way or start
        if start:
            try:
                _ = self._client.api  # the import of the SDK is not Langfuse's time
            except StepgraphError as error:
                entry.under_way = False
                return str(error)
            name = "stepgraph-prompts"
            threading.Thread(target=self._fetch, args=(key, entry), name=name, daemon=True).start()
        if not entry.known.is_set() and not self._down and not entry.known.wait(wait_s):
            self._down = True
            return f"Langfuse did not answer within {wait_s:g} s"
        return entry.value

    def _fetch(self, key: Key, entry: _Entry) -> None:
        value = self._fetched(key)
        with self._lock:
            # What was there serves on while Langfuse is away, not once it says that there is no such prompt.
            if isinstance(value, FetchedPrompt) or not self._down or isinstance(entry.value, str):
                entry.value = value
            entry.fetched_at = time.monotonic()
            entry.under_way = False
            entry.known.set()

    def _fetched(self, key: Key) -> FetchedPrompt | str:
        import httpx
        from langfuse.api import ChatMessage
        from langfuse.api.core import ApiError

        try:
            prompt = self._client.api.prompts.get(
                quote(key.name, safe=""),
                version=key.version,
                label=key.label,
                request_options={"max_retries": 0},
            )
        except ApiError as error:
            status = error.status_code or 500
            self._down = status >= 500 or status == 429
            return "Langfuse has no such prompt" if status == 404 else f"Langfuse answered {status}"
        except httpx.HTTPError as error:
            self._down = True
            return f"Langfuse cannot be reached: {type(error).__name__}"
        except ValueError as error:  # pydantic's, too: nothing that the SDK can read
            self._down = True
            return f"Langfuse's answer cannot be read: {type(error).__name__}"
        self._down = False
        if prompt.type == "text":
            return FetchedPrompt(prompt.prompt, prompt.version)
        messages = [(m.role, m.content) for m in prompt.prompt if isinstance(m, ChatMessage)]
        if len(messages) < len(prompt.prompt):
            return f"version {prompt.version} has placeholders for messages, which are not supported"
        return FetchedPrompt(tuple(messages), prompt.version)
