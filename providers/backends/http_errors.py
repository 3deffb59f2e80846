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
from .error_words import BAD_KEY, FILTERED, GARBLED, NO_MODEL, NO_MONEY, TOO_LONG, TOO_LONG_EVER, said_in
from .http import HTTPStatusError, MalformedBody, status_in

E = TypeVar("E", bound=ModelError)

_KEY_LIKE = re.compile(r"\b(?:sk|pk|rk|key|tok|or|gsk|hf)[-_][A-Za-z0-9*._-]{6,}|Bearer\s+\S+")
_MAX_DETAIL = 300


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


def as_malformed(error: Exception) -> Exception:
    """Return what a class raises that cannot read an answer as MalformedBody; any other error as it is."""
    unreadable = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError)
    if not isinstance(error, unreadable) or status_of(error) is not None:
        return error
    text = f"{error} {getattr(error, 'doc', '')}"
    # the clients of OpenAI and Anthropic hand on as a str what was not sent as JSON
    page = "<html" in text.lower() or "<!doctype" in text.lower() or "'str' object" in text
    return MalformedBody(f"{type(error).__name__}: {text}", lasting=page)


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
    error = _ours_in(error) or error
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
    answer = status_of(error)
    if answer is not None:
        return _by_status(answer.status, answer.body, answer.headers, model, at, secrets, key_env)
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


def _ours_in(error: BaseException | None) -> MalformedBody | HTTPStatusError | None:
    """Return what our reader says, behind an error: OpenAI's client takes it for a broken connection."""
    while error is not None and not isinstance(error, (MalformedBody, HTTPStatusError)):
        error = error.__cause__
    return error


def _lasting(error: ModelError) -> ModelError:
    error.lasting = True
    return error


TIMEOUT = TimeoutError()
# OpenAI's and Anthropic's clients, httpx, LangChain, AWS's
_TIMEOUTS = {
    "APITimeoutError",
    "TimeoutException",
    "ModelTimeoutError",
    "ReadTimeoutError",
    "ConnectTimeoutError",
}
_CONNECTIONS = {"APIConnectionError", "TransportError", "ModelConnectionError", *_TIMEOUTS}
_CONNECTIONS |= {"HTTPClientError", "EndpointConnectionError", "ConnectionClosedError"}


def _broken_connection(error: Exception) -> BaseException | None:
    """Return what broke the connection, TIMEOUT if nothing came in time, None if it did not break."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if not isinstance(error, (OSError, aiohttp.ClientError)) and not names & _CONNECTIONS:
        return None
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, TimeoutError):
            return TIMEOUT
        if isinstance(inner, (OSError, aiohttp.ClientError)):
            return inner
        inner = inner.__cause__ or inner.__context__
    return TIMEOUT if names & _TIMEOUTS else error


def status_of(error: BaseException | None) -> HTTPStatusError | None:
    """Return the answer that says no behind an error: each provider's client has its own classes for it."""
    while error is not None:
        if isinstance(error, HTTPStatusError):
            return error
        status = _of_openai(error) or _of_httpx(error) or _of_aws(error) or _of_google(error)
        status = status or _of_langchain(error)
        if status is not None:
            return status
        error = error.__cause__
    return None


def _of_openai(error: BaseException) -> HTTPStatusError | None:
    """Read the errors of OpenAI's and Anthropic's clients, and what LangChain makes of an error in a body."""
    status, response = getattr(error, "status_code", None), getattr(error, "response", None)
    if isinstance(status, int) and response is not None:
        body = getattr(error, "body", None) or getattr(error, "message", "")
        if status < 300:  # it came with a stream that had begun
            status = status_in(_fault_in(body))
        return HTTPStatusError(status, body, response.headers)
    body = getattr(error, "body", None)
    if "APIError" in {cls.__name__ for cls in type(error).__mro__} and body:
        return HTTPStatusError(status_in(_fault_in(body)), {"error": body}, {})
    if isinstance(error, ValueError) and error.args and isinstance(error.args[0], Mapping):
        return HTTPStatusError(status_in(_fault_in(error.args[0])), {"error": error.args[0]}, {})
    return None


def _fault_in(body: Any) -> Any:
    return body.get("error", body) if isinstance(body, Mapping) else body


def _of_httpx(error: BaseException) -> HTTPStatusError | None:
    """Read the error of a package that asks by httpx itself."""
    response = getattr(error, "response", None)
    status, text = getattr(response, "status_code", None), getattr(response, "text", None)
    if type(status) is not int or not isinstance(text, str) or not 300 <= status < 600:
        return None
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = text
    return HTTPStatusError(status, body or str(error), getattr(response, "headers", {}))


def _of_aws(error: BaseException) -> HTTPStatusError | None:
    """Read the errors of AWS's client, also those that come in a stream, which have no status."""
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return HTTPStatusError(401, str(error), {})
    response = getattr(error, "response", None)
    if not isinstance(response, Mapping) or not isinstance(response.get("Error"), Mapping):
        return None
    fault, around = response["Error"], response.get("ResponseMetadata") or {}
    status, code = around.get("HTTPStatusCode"), str(fault.get("Code", ""))
    if type(status) is not int or status < 300:
        status = _OF_AWS.get(code[:1].upper() + code[1:], 502)
    headers = around.get("HTTPHeaders")
    body = {"error": {"message": fault.get("Message") or str(error), "code": code}}
    return HTTPStatusError(status, body, headers if isinstance(headers, Mapping) else {})


# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
_OF_AWS = {
    "AccessDeniedException": 403,
    "InternalServerException": 500,
    "ModelNotReadyException": 429,
    "ModelStreamErrorException": 424,
    "ModelTimeoutException": 408,
    "ResourceNotFoundException": 404,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
    "ValidationException": 400,
}


def _of_google(error: BaseException) -> HTTPStatusError | None:
    status, details = getattr(error, "code", None), getattr(error, "details", None)
    if type(status) is not int or not 300 <= status < 600 or not hasattr(error, "details"):
        return None
    headers = getattr(getattr(error, "response", None), "headers", None)
    return HTTPStatusError(status, details, headers if isinstance(headers, Mapping) else {})


def _of_langchain(error: BaseException) -> HTTPStatusError | None:
    """Read LangChain's own classes, for packages whose clients have errors that are not known here."""
    if error.__cause__ is not None:  # the client's own error says more
        return None
    kinds = {cls.__name__ for cls in type(error).__mro__ if cls.__module__ == "langchain_core.exceptions"}
    status = next((status for kind, status in _LANGCHAINS.items() if kind in kinds), None)
    return None if status is None else HTTPStatusError(status, str(error), {})


# langchain_core.exceptions: https://reference.langchain.com/python/langchain-core/exceptions
_LANGCHAINS = {
    "ModelAuthenticationError": 401,
    "ModelPermissionDeniedError": 403,
    "ModelNotFoundError": 404,
    "ModelRateLimitError": 429,
    "ModelAPIError": 502,
    "ContextOverflowError": 413,
    "ModelInvalidRequestError": 400,
}


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
    text = said_in(body)

    def error(kind: type[E], problem: str, **fields: Any) -> E:
        return kind(f"{model}{at}{problem}", model=model, status=status, **fields)

    # Gemini words a minute's limit as a quota, and says when to ask again
    spent = status in (400, 403, 429) and NO_MONEY.search(text) and _DELAY.search(text) is None
    if status == 402 or spent:
        return _lasting(
            error(
                ModelUnavailable,
                f" says that the account has nothing left (HTTP {answer}). Top it up, or bind another model "
                "after this one.",
            )
        )
    if (status in (401, 403) and not FILTERED.search(text)) or (status == 400 and BAD_KEY.search(text)):
        where = f"the variable {key_env}" if key_env else "the key"
        return error(AuthenticationFailed, f" rejects the key (HTTP {answer}). Check {where}.")
    if status == 404 or (status == 400 and NO_MODEL.search(text)):
        return error(
            ModelNotFound,
            f" is not there (HTTP {answer}). Check the model's name and the address; most servers list their "
            "models under /models.",
        )
    too_long = TOO_LONG_EVER if status == 429 else TOO_LONG
    if status == 413 or (status in (400, 422, 429, 500) and too_long.search(text)):
        return error(
            ContextTooLong,
            f" cannot take so much text (HTTP {answer}). Ask with less, or use a model with a longer "
            "context.",
        )
    # 498: Groq's flex tier is full; 499: a proxy, or Gemini, gave the call up
    if status in (408, 409, 425, 429, 498, 499) or status >= 500:
        return error(
            ModelUnavailable,
            f" could not serve the call (HTTP {answer}). Try again later, or bind another model after this "
            "one.",
            retry_after=_retry_after(headers, text),
        )
    if GARBLED.search(text):
        return error(
            MalformedResponse,
            f": the server could not use what the model gave (HTTP {answer}). If it goes on, simplify the "
            "tools or the type.",
        )
    if FILTERED.search(text):
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


def _retry_after(headers: Mapping[str, str], body: str = "") -> float | None:
    """Return the seconds that the server asks to wait: in seconds, as an HTTP date, or in Gemini's body."""
    precise = headers.get("retry-after-ms")  # OpenAI and Azure
    if precise is not None:
        with suppress(ValueError):
            if math.isfinite(milliseconds := float(precise)):
                return max(0.0, milliseconds / 1000)
    value = headers.get("retry-after")
    if value is None:
        delay = _DELAY.search(body)
        return None if delay is None else float(delay[1])
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


_DELAY = re.compile(r'"retryDelay": "(\d+(?:\.\d+)?)s"')  # google.rpc.RetryInfo


def _detail(body: Any) -> str:
    """Return what an error body says, in whichever of its usual forms."""
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        if isinstance(inner, Mapping):
            return str(inner.get("message") or inner)
        return str(inner or body)
    return str(body)
