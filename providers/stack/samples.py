"""Draws: calls inside one voter of a vote differ from the same calls inside another."""

from __future__ import annotations

import zlib
from dataclasses import replace

from ..model import CallContext, Layer, Reply, Request


class SampleLayer(Layer):
    """Gives each request the sample number of the draw that it belongs to."""

    async def complete(self, request: Request, context: CallContext) -> Reply:
        if draw := context.run.draw:
            sample = zlib.crc32(repr((*draw, request.sample)).encode())
            request = replace(request, sample=sample)
        return await self.inner.complete(request, context)
