"""Classes of other packages: Bedrock's, Groq's and Mistral's, where they are installed, at their imitators.

What they taught holds without them too: a class that takes no None as temperature, errors of AWS's client and
of a package that asks by httpx itself.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any

import httpx
import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel

from stepgraph.errors import (
    AuthenticationFailed,
    ModelError,
    ModelNotFound,
    ModelRefused,
    ModelUnavailable,
    SettingsError,
)
from stepgraph.providers import chat_classes
from stepgraph.providers.backends.http_errors import explained, status_of
from stepgraph.providers.backends.langchain_classes import ChatMaker
from stepgraph.providers.chat_classes import ChatClass
from stepgraph.providers.model import CallContext, Request
from stepgraph.providers.settings import ModelSettings, parse_spec
from stepgraph.providers.stack.stack import member_of

KEY = "key-0123456789abcdef"
PACKAGES = {
    "bedrock_converse": "langchain_aws",
    "bedrock": "langchain_aws",
    "groq": "langchain_groq",
    "mistralai": "langchain_mistralai",
}
ERRORS = {
    500: ModelUnavailable,
    429: ModelUnavailable,
    400: ModelRefused,
    403: AuthenticationFailed,
    404: ModelNotFound,
}


class Strict(FakeListChatModel):
    """Takes a number for a temperature, and nothing else."""

    responses: list[str] = ["ok"]  # noqa: RUF012
    temperature: float = 0.7


class Provider:
    """Answers as each of the providers does."""

    def __init__(self) -> None:
        self.status = 200
        self.requests: list[dict[str, Any]] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                provider.requests.append(json.loads(self.rfile.read(length) or b"{}"))
                told = {"message": "nope", "error": {"message": "nope"}}
                body = json.dumps(answer(self.path) if provider.status == 200 else told).encode()
                self.send_response(provider.status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


def answer(path: str) -> dict[str, Any]:
    if "converse" in path:
        return {
            "output": {"message": {"role": "assistant", "content": [{"text": "hello"}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15},
            "metrics": {"latencyMs": 5},
        }
    if "invoke" in path:
        content = [{"type": "text", "text": "hello"}]
        return {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "content": content,
            "stop_reason": "end_turn",
        }
    message = {"role": "assistant", "content": "hello"}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    provider = Provider()
    thread = threading.Thread(target=provider.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield provider
    provider.server.shutdown()
    provider.server.server_close()
    thread.join()


@pytest.mark.parametrize("name", PACKAGES)
async def test_it_is_asked_once_and_its_errors_are_typed(
    provider: Provider, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is not installed")
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GROQ_API_KEY", "MISTRAL_API_KEY"):
        monkeypatch.setenv(variable, KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    model = "anthropic.claude-3-5-sonnet-20240620-v1:0" if "bedrock" in name else "m"
    spec = {"provider": name, "model": model, "base_url": provider.url, "timeout_s": 10}
    backend = member_of(parse_spec(spec, "here")).backend
    question = Request(({"role": "user", "content": "Say hello."},))
    provider.status, provider.requests = 200, []
    reply = await backend.complete(question, CallContext("here"))
    assert reply.text == "hello"
    assert len(provider.requests) == 1
    assert provider.requests[0].get("temperature") is None
    for status, kind in ERRORS.items():
        provider.status, provider.requests = status, []
        with pytest.raises(kind) as caught:
            await backend.complete(question, CallContext("here"))
        assert isinstance(caught.value, ModelError)
        assert (caught.value.status, len(provider.requests)) == (status, 1), "no hidden retry"


def test_a_class_that_takes_no_none_has_no_temperature_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a class sends by default was asked for by nobody."""
    own = ChatClass(__name__, "Strict")
    monkeypatch.setattr(chat_classes, "CHAT_CLASSES", {**chat_classes.CHAT_CLASSES, "strict": own})
    made: Any = ChatMaker(ModelSettings(provider="strict", model="m")).make()
    assert made.temperature is None


class ClientError(Exception):
    """The form of AWS's."""

    def __init__(self, code: str, status: int | None) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {
            "Error": {"Code": code, "Message": "nope"},
            "ResponseMetadata": {} if status is None else {"HTTPStatusCode": status, "HTTPHeaders": {}},
        }


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ThrottlingException", 429, ModelUnavailable),
        ("AccessDeniedException", 403, AuthenticationFailed),
        ("ResourceNotFoundException", 404, ModelNotFound),
        ("ValidationException", 400, ModelRefused),
        ("throttlingException", None, ModelUnavailable),  # in a stream that had begun with 200
        ("validationException", 200, ModelRefused),
        ("somethingNew", None, ModelUnavailable),
    ],
)
def test_errors_of_awss_client(code: str, status: int | None, kind: type[ModelError]) -> None:
    told = explained(ClientError(code, status), "m")
    assert type(told) is kind
    assert "nope" in str(told)


def test_missing_credentials_of_aws() -> None:
    missing = type("NoCredentialsError", (Exception,), {})("Unable to locate credentials")
    assert type(explained(missing, "m")) is AuthenticationFailed


@pytest.mark.parametrize("name", ["EndpointConnectionError", "ReadTimeoutError", "ConnectTimeoutError"])
def test_broken_connections_of_awss_client(name: str) -> None:
    assert "ModelUnreachable" in type(explained(type(name, (Exception,), {})("x"), "m")).__name__


@pytest.mark.parametrize("body", ['{"message": "nope"}', "nope", "", "[" * 50_000, "9" * 5000])
def test_the_error_of_a_package_that_asks_by_httpx(body: str) -> None:
    """As Mistral's does."""
    request = httpx.Request("POST", "http://127.0.0.1/")
    response = httpx.Response(429, text=body, headers={"retry-after": "7"}, request=request)
    found = status_of(httpx.HTTPStatusError("no", request=request, response=response))
    assert found is not None
    assert found.status == 429
    told = explained(found, "m")
    assert isinstance(told, ModelUnavailable)
    assert told.retry_after == 7


@pytest.mark.parametrize("way", ["nothing", "address", "param", "variable"])
def test_azure_without_a_version_of_its_api_is_told(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_VERSION", raising=False)
    settings: dict[str, Any] = {"provider": "azure_openai", "model": "m"}
    settings["base_url"] = "https://x.openai.azure.com"
    if way == "address":
        settings["base_url"] += "?api-version=2024-10-21"
    elif way == "param":
        settings["params"] = {"api_version": "2024-10-21"}
    elif way == "variable":
        monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    maker = ChatMaker(parse_spec(settings, "here"))
    if way == "nothing":
        with pytest.raises(SettingsError, match=r"api-version=.*api_version.*OPENAI_API_VERSION"):
            maker.make()
    else:
        made: Any = maker.make()
        assert made.openai_api_version == "2024-10-21"
