"""What went wrong at an endpoint, as one of our errors; no key ever gets into a message."""

from __future__ import annotations

import json
import math
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp

from ...state.errors import (
    AuthenticationFailed,
    ContextTooLong,
    MalformedResponse,
    ModelError,
    ModelFiltered,
    ModelNotFound,
    ModelRefused,
    ModelUnavailable,
    ModelUnreachable,
)
from .http import HTTPStatusError, MalformedBody

E = TypeVar("E", bound=ModelError)

_KEY_LIKE = re.compile(r"\b(?:sk|pk|rk|key|tok|or|gsk|hf)[-_][A-Za-z0-9*._-]{6,}|Bearer\s+\S+")
_MAX_DETAIL = 300
# What the servers say: OpenAI, vLLM, llama.cpp (https://github.com/ggml-org/llama.cpp/pull/15780), others.
_TOO_LONG = re.compile(
    r"context[_ ](?:length|size|window)|maximum context|context too long|prompt is too long|too many tokens",
    re.IGNORECASE,
)
_FILTERED = re.compile(r"content[_ ]?(?:filter|policy|management)|moderation", re.IGNORECASE)
_NO_MONEY = re.compile(r"insufficient[_ ](?:quota|balance|credits|funds)|exceeded your current quota", re.I)


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    """Return the text without the secrets, however quoted."""
    for secret in filter(None, secrets):
        for form in {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe="")}:
            text = re.sub(re.escape(form), "***", text, flags=re.IGNORECASE)
    return text


def scrubbed(text: str, secrets: Sequence[str] = ()) -> str:
    """Return the beginning of the text without the secrets, and without what looks like a key."""
    text = _KEY_LIKE.sub("***", without_secrets(text, secrets))
    return text if len(text) <= _MAX_DETAIL else text[:_MAX_DETAIL] + "…"


def explained(
    error: Exception,
    model: str,
    *,
    address: str | None = None,
    secrets: Sequence[str] = (),
    key_env: str | None = None,
) -> ModelError:
    """Return the ModelError for whatever a client raised."""
    if isinstance(error, ModelError):
        return error
    at = f" at {address}" if address else ""
    broken = _broken_connection(error)
    if broken is TIMEOUT:
        return ModelUnreachable(
            f"{model}{at} did not answer in time. Raise timeout_s for it, or ask for less.", model=model
        )
    if isinstance(broken, (ssl.SSLError, ssl.CertificateError, aiohttp.ClientSSLError)):
        return _lasting(
            ModelUnreachable(
                f"{model}{at} cannot be trusted ({scrubbed(str(broken), secrets)}). Does the address begin "
                "with the right https:// or http://? A private authority's certificate is named by the "
                "variable SSL_CERT_FILE.",
                model=model,
            )
        )
    if broken is not None:
        message = str(broken) or type(broken).__name__
        return ModelUnreachable(
            f"{model}{at} cannot be reached ({scrubbed(message, secrets)}). Is the server running, and "
            "is the address right?",
            model=model,
        )
    answer = _status_answer(error)
    if answer is not None:
        return _by_status(*answer, model, at, secrets, key_env)
    detail = scrubbed(str(error.__cause__ or error), secrets)
    if isinstance(error, MalformedBody):
        garbled = MalformedResponse(
            f"{model}{at} answered in a form that cannot be read ({detail}). If it goes on, is it an "
            "OpenAI-compatible chat endpoint?",
            model=model,
        )
        return _lasting(garbled) if error.lasting else garbled
    return ModelError(
        f"{model}{at} answered in a form that cannot be read ({type(error).__name__}: {detail}). "
        "Is it an OpenAI-compatible chat endpoint?",
        model=model,
    )


def _lasting(error: ModelError) -> ModelError:
    error.lasting = True
    return error


TIMEOUT = TimeoutError()


def _broken_connection(error: Exception) -> BaseException | None:
    """Return what broke the connection, TIMEOUT if nothing came in time, None if it did not break."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if not isinstance(error, (OSError, aiohttp.ClientError)) and "APIConnectionError" not in names:
        return None
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, TimeoutError):
            return TIMEOUT
        if isinstance(inner, (OSError, aiohttp.ClientError)):
            return inner
        inner = inner.__cause__ or inner.__context__
    return TIMEOUT if "APITimeoutError" in names else error


def _status_answer(error: Exception) -> tuple[int, Any, Mapping[str, str]] | None:
    """Return status, body and headers of an answer that says no; OpenAI's own client has its own class."""
    if isinstance(error, HTTPStatusError):
        return error.status, error.body, error.headers
    status, response = getattr(error, "status_code", None), getattr(error, "response", None)
    if isinstance(status, int) and response is not None:
        body = getattr(error, "body", None) or getattr(error, "message", "")
        return status, body, response.headers
    return None


def _by_status(
    status: int,
    body: Any,
    headers: Mapping[str, str],
    model: str,
    at: str,
    secrets: Sequence[str],
    key_env: str | None,
) -> ModelError:
    answer = f"{status}: {scrubbed(_detail(body), secrets)}"
    whole = json.dumps(body, default=str)

    def error(kind: type[E], problem: str, **fields: Any) -> E:
        return kind(f"{model}{at}{problem}", model=model, status=status, **fields)

    if status in (401, 403) and not _FILTERED.search(whole):
        where = f"the variable {key_env}" if key_env else "the key"
        return error(AuthenticationFailed, f" rejects the key (HTTP {answer}). Check {where}.")
    if status == 404:
        return error(
            ModelNotFound,
            f" is not there (HTTP {answer}). Check the model's name and the address; most servers list their "
            "models under /models.",
        )
    if _TOO_LONG.search(whole) and status in (400, 413, 422, 500):
        return error(
            ContextTooLong,
            f" cannot take so much text (HTTP {answer}). Ask with less, or use a model with a longer "
            "context.",
        )
    if status == 402 or (status == 429 and _NO_MONEY.search(whole)):
        return _lasting(
            error(
                ModelUnavailable,
                f" says that the account has nothing left (HTTP {answer}). Top it up, or bind another model "
                "after this one.",
            )
        )
    if status in (408, 409, 425, 429) or status >= 500:
        return error(
            ModelUnavailable,
            f" could not serve the call (HTTP {answer}). Try again later, or bind another model after this "
            "one.",
            retry_after=_retry_after(headers),
        )
    if _FILTERED.search(whole):
        return error(
            ModelFiltered,
            f": the provider's content filter stopped the request (HTTP {answer}). Change the prompt, or "
            "bind another model after this one.",
        )
    if status < 400:
        return error(
            ModelRefused,
            f" is somewhere else (HTTP {answer}). Set base_url to where it leads: "
            f"{scrubbed(headers.get('Location', 'unknown'), secrets)}",
        )
    return error(
        ModelRefused,
        f" rejects the request (HTTP {answer}). See what the server says; `stepgraph models check` finds out "
        "what it can do.",
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the server asks to wait: in seconds or as an HTTP date."""
    precise = headers.get("retry-after-ms")  # OpenAI and Azure
    if precise is not None:
        with suppress(ValueError):
            return max(0.0, float(precise) / 1000)
    value = headers.get("retry-after")
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


def _detail(body: Any) -> str:
    """Return what an error body says, in whichever of its usual forms."""
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        if isinstance(inner, Mapping):
            return str(inner.get("message") or inner)
        return str(inner or body)
    return str(body)
