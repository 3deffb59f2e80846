"""Draws: calls inside one voter of a vote differ from the same calls inside another."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from langchain_core.runnables import RunnableConfig

from ..model import CallContext, Layer, Reply, Request

DRAW_KEY = "__stepgraph_draw"


def sample_scope(config: RunnableConfig, number: int) -> RunnableConfig:
    """Return the config under which every call is draw `number`, within the draw it is part of already."""
    configurable = config.get("configurable", {})
    draw = (*configurable.get(DRAW_KEY, ()), number)
    return cast("RunnableConfig", {**config, "configurable": {**configurable, DRAW_KEY: draw}})


class SampleLayer(Layer):
    """Gives each request the sample number of the draw that it belongs to."""

    async def complete(self, request: Request, site: CallContext) -> Reply:
        configurable: Mapping[str, Any] = site.configurable
        if draw := configurable.get(DRAW_KEY):
            sample = zlib.crc32(repr((*draw, request.sample)).encode())
            request = replace(request, sample=sample)
        return await self.inner.complete(request, site)
