"""Which errors pass by themselves, so that trying again may help."""

from __future__ import annotations

import socket
from typing import Final

from ..state.errors import (
    BranchTimeout,
    CircuitOpen,
    EngineUnreachable,
    MalformedResponse,
    MCPServerFailed,
    ModelUnavailable,
    ModelUnreachable,
    NoAnswer,
    RetrievalFailed,
    StepgraphError,
    StoreError,
    ThreadBusy,
)

# Trying these again may help: the next try finds another moment. All else fails in the same way again.
PASSING: Final = (
    EngineUnreachable,
    ModelUnreachable,
    ModelUnavailable,
    CircuitOpen,
    MalformedResponse,
    RetrievalFailed,
    MCPServerFailed,
    BranchTimeout,
    StoreError,
    ThreadBusy,
    TimeoutError,
    ConnectionError,
    socket.gaierror,
)


def is_retryable(error: BaseException | None) -> bool:
    """Tell whether another turn may help: the network, a model's server, the store, somebody else's run.

    What user code raises counts by what caused it: an HTTP client's error is caused by one of a socket.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, PASSING):
            return not getattr(error, "lasting", False)
        if isinstance(error, StepgraphError) and not isinstance(error, NoAnswer):
            return False
        error = error.__cause__ or error.__context__
    return False
