"""Where a Temporal server is, the client of it, and what is said when it does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit
from weakref import WeakKeyDictionary

from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode

from ...state.errors import EngineUnreachable, InputError

QUEUE: Final = "stepgraph"
PORT: Final = 7233
AWAY = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
_REFUSED = (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED)
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Client]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Address:
    """Where a server is: temporal://host:port/namespace?queue=name. Keys come from the environment alone."""

    target: str
    namespace: str | None
    queue: str

    @classmethod
    def read(cls, on: str) -> Address:
        """Return what an address says. Raises InputError for what it may not, or cannot."""
        parts = urlsplit(on)
        options = parse_qs(parts.query)
        if parts.username or parts.password or not {*options} <= {"queue"}:
            raise InputError(
                f"--on temporal://{parts.hostname}…: expected temporal://host:port/namespace?queue=name. "
                "Keys and certificates come from the environment: TEMPORAL_API_KEY, TEMPORAL_TLS_…"
            )
        try:
            port = parts.port or PORT
        except ValueError:
            raise InputError(f"{on}: the port is no number.") from None
        queue = options.get("queue", [QUEUE])[0]
        return cls(f"{parts.hostname or 'localhost'}:{port}", parts.path.strip("/") or None, queue)

    def __str__(self) -> str:
        queue = "" if self.queue == QUEUE else f"?{urlencode({'queue': self.queue})}"
        return f"temporal://{self.target}{f'/{self.namespace}' if self.namespace else ''}{queue}"

    async def client(self) -> Client:
        """Return the client of this event loop. Raises EngineUnreachable.

        The rest of what it needs stands in the environment, as for Temporal's own tools.
        """
        clients = _clients.setdefault(asyncio.get_running_loop(), {})
        if str(self) not in clients:
            profile = ClientConfigProfile.load()
            namespace = self.namespace or profile.namespace or "default"
            profile = replace(profile, address=self.target, namespace=namespace)
            connecting = profile.to_client_connect_config()
            try:  # names and words are smaller than what it takes to compress them
                clients[str(self)] = await Client.connect(**connecting, grpc_compression=GrpcCompression.NONE)
            except (RuntimeError, RPCError, OSError) as error:
                why = "nothing listens there" if "ConnectionRefused" in str(error) else f"{error!s:.200}"
                raise self._unreachable(why) from None
        return clients[str(self)]

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Turn the error of a server that went away, or refuses us, into EngineUnreachable."""
        try:
            yield
        except RPCError as error:
            if error.status not in (*AWAY, *_REFUSED):
                raise
            raise self._unreachable(f"{error.message:.200}") from None

    def _unreachable(self, why: str) -> EngineUnreachable:
        return EngineUnreachable(
            f"No Temporal server answers at {self.target}: {why}. Start it, or name another one. "
            "What was put on record waits there."
        )
