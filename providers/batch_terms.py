"""Which providers have a batch API, of which form, and what they take for a call in a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

BatchApiName = Literal["openai", "anthropic"]


@dataclass(frozen=True)
class BatchTerms:
    """A provider's batch API: its form, its share of the usual price, and how much one batch may hold.

    `source` says where that is documented.
    """

    api: BatchApiName
    price: float
    max_requests: int
    max_bytes: int
    source: str


BATCH_TERMS: Final[Mapping[str, BatchTerms]] = {
    "openai": BatchTerms("openai", 0.5, 50_000, 200 * 10**6, "https://platform.openai.com/docs/guides/batch"),
    "anthropic": BatchTerms(
        "anthropic",
        0.5,
        100_000,
        256 * 10**6,
        "https://platform.claude.com/docs/en/build-with-claude/batch-processing",
    ),
}
