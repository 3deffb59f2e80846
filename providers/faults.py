"""What went wrong at an endpoint, as one of our errors; no key ever gets into a message."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import aiohttp
import openai

from ..state.errors import (
    ModelDenied,
    ModelError,
    ModelMissing,
    ModelOverloaded,
    ModelRefused,
    ModelUnreachable,
)

_KEY_LIKE = re.compile(r"\b(?:sk|pk|rk|key|tok|or|gsk|hf)[-_][A-Za-z0-9*._-]{6,}|Bearer\s+\S+")
_MAX_DETAIL = 300


def scrubbed(text: str, secrets: Sequence[str] = ()) -> str:
    """Return the text without the secrets, however quoted, and without what looks like a key."""
    for secret in filter(None, secrets):
        for form in {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe="")}:
            text = re.sub(re.escape(form), "***", text, flags=re.IGNORECASE)
    text = _KEY_LIKE.sub("***", text)
    return text if len(text) <= _MAX_DETAIL else text[:_MAX_DETAIL] + "…"


def explained(
    error: Exception,
    model: str,
    *,
    address: str | None = None,
    secrets: Sequence[str] = (),
    key_env: str | None = None,
) -> ModelError:
    """Return the ModelError for whatever a client library raised."""
    at = f" at {address}" if address else ""
    if isinstance(error, openai.APIConnectionError):
        broken = _broken_connection(error)
        if broken is None:
            return ModelUnreachable(
                f"{model}{at} did not answer in time. Raise timeout_s for it, or ask for less.", model=model
            )
        return ModelUnreachable(
            f"{model}{at} cannot be reached ({scrubbed(broken, secrets)}). Is the server running, and is the "
            "address right?",
            model=model,
        )
    detail = scrubbed(_detail(error), secrets)
    if isinstance(error, openai.APIStatusError):
        return _by_status(error, model, at, detail, key_env)
    return ModelError(
        f"{model}{at} answered in a form that cannot be read ({type(error).__name__}: {detail}). "
        "Is it an OpenAI-compatible chat endpoint?",
        model=model,
    )


def _broken_connection(error: Exception) -> str | None:
    """Return what broke the connection, None for a timeout; the client reports both alike."""
    inner: BaseException | None = error
    while (cause := inner.__cause__ or inner.__context__ if inner else None) is not None:
        inner = cause
        if isinstance(inner, TimeoutError):
            return None
        if isinstance(inner, (OSError, aiohttp.ClientError)):
            return str(inner) or type(inner).__name__
    return None if isinstance(error, openai.APITimeoutError) else str(inner or error)


def _by_status(
    error: openai.APIStatusError, model: str, at: str, detail: str, key_env: str | None
) -> ModelError:
    status = error.status_code
    if status in (401, 403):
        where = f"the variable {key_env}" if key_env else "the key"
        return ModelDenied(
            f"{model}{at} rejects the key (HTTP {status}: {detail}). Check {where}.",
            model=model,
            status=status,
        )
    if status == 404:
        return ModelMissing(
            f"{model}{at} is not there (HTTP 404: {detail}). Check the model's name and the address; "
            "most servers list their models under /models.",
            model=model,
            status=status,
        )
    if status in (408, 409, 425, 429) or status >= 500:
        return ModelOverloaded(
            f"{model}{at} could not serve the call (HTTP {status}: {detail}).",
            model=model,
            status=status,
            retry_after=_retry_after(error),
        )
    return ModelRefused(
        f"{model}{at} rejects the request (HTTP {status}: {detail}).", model=model, status=status
    )


def _retry_after(error: openai.APIStatusError) -> float | None:
    value = error.response.headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _detail(error: Exception) -> str:
    if isinstance(error, openai.APIStatusError):
        body = error.body
        if isinstance(body, dict):
            return str(body.get("message") or body.get("error") or body)
        return str(body or error.message)
    return str(error.__cause__ or error)
