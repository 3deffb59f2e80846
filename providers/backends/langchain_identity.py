"""What tells two LangChain chat models apart that would answer one request differently.

Whatever a chat model declares as a field counts, unless it is known to change no answer: keys, clients,
timeouts, retries, callbacks. So a setting that nobody here has heard of costs an answer from the cache at
worst, and never gives one that was meant for another configuration.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
from collections.abc import Mapping
from enum import Enum
from types import FunctionType
from typing import Any

from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel, SecretBytes, SecretStr

_INFRASTRUCTURE = frozenset(
    "name cache verbose callbacks tags metadata custom_get_token_ids rate_limiter disable_streaming "
    "streaming stream_usage stream_chunk_timeout profile client async_client root_client root_async_client "
    "http_client http_async_client http_socket_options max_retries request_timeout timeout "
    "default_request_timeout client_options transport credentials "
    "i sleep".split()  # where LangChain's fake models are in their script, and how long they wait
)
_SECRET = re.compile(
    r"(api|access|secret|auth|bearer|private|session|account|subscription)[_-]?(key|token)|authorization"
    r"|token_provider|password|secret|credential|cookie",
    re.IGNORECASE,
)
_PROCESS = secrets.token_hex(8)
_warned: set[str] = set()
_log = logging.getLogger("stepgraph")


def identity_of(chat: BaseChatModel, arguments: Mapping[str, Any] | None = None) -> str:
    """Return a digest of all that can change the model's answers; the same in every process.

    `arguments` are bound to each of its calls.
    """
    plain = _plain(chat, type(chat).__name__)
    bound = {name: value for name, value in (arguments or {}).items() if name not in _INFRASTRUCTURE}
    content = json.dumps([plain, _plain(bound, "bind")] if bound else plain, sort_keys=True)
    return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:32]


def _fields(model: BaseModel, where: str) -> dict[str, Any]:
    """Return the settings that differ from their defaults; the class itself is one of them."""
    kind = type(model)
    fields: dict[str, Any] = {"": f"{kind.__module__}.{kind.__qualname__}"}
    extra = model.__pydantic_extra__ or {}
    values = {**{name: getattr(model, name, None) for name in kind.model_fields}, **extra}
    for name, value in values.items():
        known = kind.model_fields.get(name)
        if name in _INFRASTRUCTURE or _SECRET.search(name) or (known is not None and known.exclude):
            continue
        if value is None or (known is not None and known.default_factory is None and value is known.default):
            continue
        fields[name] = _plain(value, f"{where}.{name}")
    return fields


def _plain(value: Any, where: str) -> Any:
    """Return a value as JSON that is the same in every process, without secrets."""
    if value is None or (isinstance(value, (str, bool, int, float)) and not isinstance(value, Enum)):
        return value
    if isinstance(value, (SecretStr, SecretBytes)):
        return None
    if isinstance(value, Enum):
        return [type(value).__qualname__, value.name]
    if isinstance(value, Mapping):
        shown = {str(name): part for name, part in value.items() if not _SECRET.search(str(name))}
        return {name: _plain(part, f"{where}.{name}") for name, part in shown.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part, where) for part in value]
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(_plain(part, where), sort_keys=True) for part in value)
    if isinstance(value, BaseModel):
        return _fields(value, where)
    if isinstance(value, type) or (isinstance(value, FunctionType) and "<" not in value.__qualname__):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, bytes):
        return value.hex()
    return _unknown(value, where)


def _unknown(value: Any, where: str) -> str:
    """Return what equals nothing in another process, and say so once."""
    if where not in _warned:
        _warned.add(where)
        _log.warning(
            "%s is a %s, which cannot be compared between processes: answers that were cached or committed "
            "under it are used by this process only.",
            where,
            type(value).__name__,
        )
    return f"{_PROCESS} {id(value)}"
