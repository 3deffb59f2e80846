"""A batch whose submit nobody saw the end of is found however much later, and whatever the clocks say."""

from __future__ import annotations

import pytest

from stepgraph.providers.backends.http import HTTPStatusError
from stepgraph.providers.batches.anthropic import AnthropicBatches
from stepgraph.providers.batches.openai import MARK, OpenAIBatches
from stepgraph.providers.settings import parse_spec
from stepgraph.state.journal.batches import Batch

from ..batch_apis import BatchServer, ServedBatch

HOUR, DAY = 3600.0, 86_400.0
NOW = 1_800_000_000.0
BODY = {"messages": [{"role": "user", "content": "Say yes"}]}


def served(number: int, made_at: float, *, ours: bool = False) -> ServedBatch:
    name = "sg-mine" if ours else f"other-{number}"
    row = {"metadata": {MARK: "sg-mine"} if ours else {}}
    return ServedBatch(f"batch_{number}", {f"{name}-1": BODY}, made_at, row=row, ended=True)


@pytest.mark.parametrize("kind", [AnthropicBatches, OpenAIBatches])
@pytest.mark.parametrize("ago", [HOUR, DAY, 28 * DAY])
@pytest.mark.parametrize("skew", [-20 * HOUR, 0.0, 20 * HOUR])
async def test_a_batch_is_found_behind_many_later_ones(
    monkeypatch: pytest.MonkeyPatch, kind: type[AnthropicBatches | OpenAIBatches], ago: float, skew: float
) -> None:
    """All are as large as ours: those of others, some of them archived or deleted, before and after it."""
    begun = NOW - ago
    with BatchServer() as server:
        server.page = 20
        times = [begun - 40 * DAY, begun - HOUR, *[begun + n for n in range(1, 61)]]
        server.batches = [served(n, made + skew) for n, made in enumerate(times)]
        server.batches.insert(2, served(99, begun + skew, ours=True))
        server.archived = {"batch_1", "batch_7", "batch_20"}
        api = kind(parse_spec(server.spec(kind.name), "here"))
        batch = Batch("sg-mine", api.name, api.address, api.model, 1, "submitting", started_at=begun)
        assert await api.find(batch, {"batch_30"}, ["sg-mine-1"]) == "batch_99"
        server.batches.pop(2)
        assert await api.find(batch, set(), ["sg-mine-1"]) is None


@pytest.mark.parametrize("status", [404, 403])
async def test_only_results_that_are_gone_say_that_a_batch_is_not_ours(status: int) -> None:
    """It may be deleted or archived once it was listed; after any other answer nothing is paid for again."""
    with BatchServer() as server:
        server.batches = [served(1, NOW, ours=True)]
        server.results_status = status
        api = AnthropicBatches(parse_spec(server.spec("anthropic"), "here"))
        batch = Batch("sg-mine", api.name, api.address, api.model, 1, "submitting", started_at=NOW)
        if status == 404:
            assert await api.find(batch, set(), ["sg-mine-1"]) is None
        else:
            with pytest.raises(HTTPStatusError):
                await api.find(batch, set(), ["sg-mine-1"])
