"""How much goes into one request: so many spans, so many characters, so many threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from stepgraph.tracing.export.otlp import MOST_BYTES, MOST_SPANS, _portions
from stepgraph.tracing.export.outbox import ExportBatch, chosen, grouped, in_sample
from stepgraph.tracing.record.spans import Span, Trace

TRACE = Trace("trace", "t", 1, "app")


def span(size: int = 0) -> Span:
    row = {"output": "x" * (size // 2), "input": "x" * (size - size // 2), "attempt": 1}
    return Span(TRACE, "node", "n", "r", "draft", "draft", "draft:1", "done", 0.0, 1.0, row)


@pytest.mark.parametrize(
    ("sizes", "portions"),
    [
        ([], []),
        ([0] * MOST_SPANS, [MOST_SPANS]),
        ([0] * (MOST_SPANS + 1), [MOST_SPANS, 1]),
        ([0] * (2 * MOST_SPANS + 5), [MOST_SPANS, MOST_SPANS, 5]),
        ([MOST_BYTES // 2] * 2, [2]),
        ([MOST_BYTES // 2, MOST_BYTES // 2 + 1], [1, 1]),
        ([MOST_BYTES + 1], [1]),
        ([MOST_BYTES + 1, 1, MOST_BYTES - 1, 1], [1, 2, 1]),
    ],
)
def test_spans_go_in_portions(sizes: Sequence[int], portions: Sequence[int]) -> None:
    spans = [span(size) for size in sizes]
    found = list(_portions(spans))
    assert [len(portion) for portion in found] == list(portions)
    assert [each for portion in found for each in portion] == spans


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [([], []), ([1, 2], [2]), ([MOST_SPANS // 2, 1], [1, 1]), ([MOST_SPANS // 2 - 1, 1, 7], [2, 1])],
)
def test_small_threads_share_a_request(sizes: Sequence[int], groups: Sequence[int]) -> None:
    batches = [ExportBatch(f"t{n}", [span()] * size, [], None) for n, size in enumerate(sizes)]
    found = list(grouped(batches))
    assert [len(group) for group in found] == list(groups)
    assert [batch for group in found for batch in group] == batches


@pytest.mark.parametrize(
    ("trace", "sample", "kept"),
    [
        ("00000000ff", 0.0, False),
        ("00000000ff", 1e-9, True),
        ("7fffffffff", 0.5, True),
        ("8000000000", 0.5, False),
        ("0fffffff00", 1 / 16, True),
        ("1000000000", 1 / 16, False),
        ("ffffffffff", 1.0, True),
    ],
)
def test_a_trace_is_in_the_sample_by_its_id(trace: str, sample: float, kept: bool) -> None:
    assert in_sample(trace, sample) is kept
    spans = [replace(span(), trace=replace(TRACE, id=trace)), span()]
    assert (spans[0] in chosen(spans[:1], sample)) is kept


@pytest.mark.parametrize("status", ["failed", "unfinished", "partial"])
def test_a_trace_with_an_error_is_in_every_sample(status: Any) -> None:
    trace = replace(TRACE, id="f" * 32)
    fine, bad = replace(span(), trace=trace), replace(span(), trace=trace, status=status)
    call = replace(fine, kind="call", row={"problem": "no JSON"})
    assert chosen([fine], 0.0) == []
    assert chosen([fine, bad], 0.0) == [fine, bad]
    assert chosen([fine, call], 0.0) == [fine, call]
    assert chosen([replace(call, row={"problem": None})], 0.0) == []
