"""The bounds of an answer for the clients of OpenAI's and Anthropic's packages, which have none of their own.

They unpack a packed answer whole, and a small one may unpack to gigabytes. So they ask for answers as they
are, refuse packed ones, and count what comes.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from functools import cache
from typing import Any, Final

from .http import MAX_ANSWER_BYTES, MalformedBody

UNPACKED: Final = {"Accept-Encoding": "identity"}


async def bound(response: Any) -> None:
    """Bound what an answer may have, before any of it is read: a hook of httpx, in either version."""
    packed = response.headers.get("content-encoding", "identity")
    if packed.lower() != "identity":
        raise MalformedBody(
            f"the answer is packed ({packed[:20]}), though it was asked for as it is", lasting=True
        )
    response.stream = _counted(type(response).__module__.partition(".")[0])(response.stream)


@cache
def _counted(package: str) -> Any:
    base: Any = importlib.import_module(package).AsyncByteStream

    class Counted(base):  # type: ignore[misc]
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for part in self._stream:
                size += len(part)
                if size > MAX_ANSWER_BYTES:
                    raise MalformedBody(
                        f"the answer has more than {MAX_ANSWER_BYTES >> 20} MiB", lasting=True
                    )
                yield part

        async def aclose(self) -> None:
            await self._stream.aclose()

    return Counted
