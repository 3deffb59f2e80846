"""Draws: calls inside one voter of a vote differ from the same calls inside another."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

from ..model import CallContext, Model, Reply, Request
from ..settings import ModelSettings


class SampleScope:
    """Gives each request the sample number of the draw that it belongs to.

    `members` are the bare models underneath, with their settings; one request is answered, and paid for,
    `most_answers` times at most.
    """

    def __init__(
        self, inner: Model, members: Sequence[tuple[Model, ModelSettings]] = (), most_answers: int = 1
    ) -> None:
        self._inner = inner
        self.members = members
        self.most_answers = most_answers
        self.name = inner.name

    async def complete(self, request: Request, site: CallContext) -> Reply:
        if draw := site.run.draw:
            sample = zlib.crc32(repr((*draw, request.sample)).encode())
            request = replace(request, sample=sample)
        return await self._inner.complete(request, site)
