from __future__ import annotations

from typing import Any

import pytest

from stepgraph.providers.backends.usages import read_cost, read_usage
from stepgraph.providers.model import Usage

COUNTS = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


@pytest.mark.parametrize(
    ("more", "usage"),
    [
        ({}, Usage(100, 20)),
        ({"prompt_tokens_details": {"cached_tokens": 64}}, Usage(100, 20, cached=64)),
        ({"prompt_tokens_details": None}, Usage(100, 20)),
        ({"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36}, Usage(100, 20, cached=64)),
        ({"cached_tokens": 64}, Usage(100, 20, cached=64)),
        (
            {"prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 30}},
            Usage(100, 20, cached=64, cache_write=30),
        ),
        (
            {"cache_read_input_tokens": 64, "cache_creation_input_tokens": 99},
            Usage(100, 20, cached=64, cache_write=36),
        ),
        ({"completion_tokens_details": {"reasoning_tokens": 15}}, Usage(100, 20, reasoning=15)),
        ({"reasoning_tokens": 15}, Usage(100, 20, reasoning=15)),
        (
            {"completion_tokens_details": {"reasoning_tokens": 50}, "total_tokens": 170},
            Usage(100, 70, reasoning=50),
        ),
        ({"prompt_tokens_details": {"cached_tokens": 500}}, Usage(100, 20, cached=100)),
        ({"prompt_tokens": -5, "completion_tokens": "20"}, Usage(None, 20)),
        ({"prompt_tokens": None, "completion_tokens": True}, Usage(None, 1)),
    ],
)
def test_every_spelling_is_understood(more: dict[str, Any], usage: Usage) -> None:
    assert read_usage({**COUNTS, **more}) == usage


@pytest.mark.parametrize(
    ("raw", "cost"),
    [
        ({}, None),
        ({"cost": 0.0125}, 0.0125),
        ({"cost": 0}, 0.0),
        ({"cost": None}, None),
        ({"cost": "free"}, None),
        ({"cost": -1}, None),
        ({"cost": float("nan")}, None),
        ({"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}}, 0.21),
        ({"cost": 0.01, "is_byok": True}, None),
        ({"cost": 0.01, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.2}}, 0.01),
    ],
)
def test_the_providers_own_cost(raw: dict[str, Any], cost: float | None) -> None:
    assert read_cost(raw) == (cost if cost is None else pytest.approx(cost))
