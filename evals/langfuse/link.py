"""A trial's spans and scores, linked to the experiment and the item that they belong to."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ...tracing.export.langfuse import langfuse_attributes, langfuse_name
from ...tracing.export.otlp_spans import Dialect
from ...tracing.export.outbox import ExportBatch
from ...tracing.record.attributes import Attributes
from ...tracing.record.spans import Span, Trace
from ..files.results import Header, Trial
from ..scoring.score import NODE
from ..suite.model import Evaluator
from .items import stable_id

ENVIRONMENT = "sdk-experiment"  # what the SDK calls it, so that it stays out of what real users did


@dataclass(frozen=True)
class Experiment:
    """A run of a suite in Langfuse: its id, its dataset's id, and what it is a run of."""

    id: str
    dataset_id: str
    header: Header
    evaluators: Sequence[Evaluator]


@dataclass(frozen=True)
class ItemTrace(Trace):
    """The trace of a trial. Langfuse wants `labels` on every span of it, and `root` on the first."""

    labels: Attributes = field(default_factory=dict)
    root: Attributes = field(default_factory=dict)


def item_attributes(span: Span) -> Attributes:
    """Return a span's attributes for Langfuse, with the experiment that it belongs to."""
    attributes = langfuse_attributes(span)
    if isinstance(span.trace, ItemTrace):
        attributes |= span.trace.labels
        if span.parent_id is None:
            attributes |= span.trace.root
    return attributes


ITEMS = Dialect(item_attributes, langfuse_name, merges=True)


def parcel_of(
    experiment: Experiment, trial: Trial, item: Mapping[str, Any], spans: Sequence[Span]
) -> ExportBatch:
    """Return a trial's spans and scores, ready to be sent."""
    first = next(span for span in spans if span.kind == "run" and span.parent_id is None)
    trace = _linked(experiment, trial, item, first)
    linked = [replace(span, trace=trace) for span in spans]
    scores = [(trace, row) for row in _scores(experiment, trial, first, linked)]
    return ExportBatch(trial.thread, linked, scores, time.time())


def _linked(experiment: Experiment, trial: Trial, item: Mapping[str, Any], first: Span) -> ItemTrace:
    from langfuse import LangfuseOtelSpanAttributes as Names

    header = experiment.header
    labels: Attributes = {
        Names.EXPERIMENT_ID: experiment.id,
        Names.EXPERIMENT_NAME: header.run,
        Names.EXPERIMENT_METADATA: json.dumps({"models": dict(header.models), "graph": header.graph}),
        Names.EXPERIMENT_DATASET_ID: experiment.dataset_id,
        Names.EXPERIMENT_ITEM_ID: item["id"],
        Names.EXPERIMENT_ITEM_METADATA: json.dumps({**item["metadata"], "repeat": trial.repeat}),
        Names.EXPERIMENT_ITEM_ROOT_OBSERVATION_ID: first.id,
    }
    expected = json.dumps(item["expected_output"], ensure_ascii=False)
    trace: dict[str, Any] = {part.name: getattr(first.trace, part.name) for part in fields(Trace)}
    trace["environment"] = ENVIRONMENT
    return ItemTrace(**trace, labels=labels, root={Names.EXPERIMENT_ITEM_EXPECTED_OUTPUT: expected})


def _scores(
    experiment: Experiment, trial: Trial, first: Span, spans: Sequence[Span]
) -> Iterator[dict[str, Any]]:
    """Yield a trial's scores, each on the item or on the node execution that it speaks of."""
    visits = {e.name: (e.node, e.visit) for e in experiment.evaluators if e.node is not None}
    at = max(span.ended_at for span in spans)
    for name, score in trial.scores.items():
        if score.value is None:
            continue
        node, visit = visits.get(name, (name.removeprefix(NODE) if name.startswith(NODE) else None, "last"))
        there = [span for span in spans if span.kind == "node" and span.path == node]
        yield {
            "id": stable_id(16, experiment.id, first.trace.id, name),
            "span": (there[0 if visit == "first" else -1] if there else first).id,
            "name": name,
            "value": score.value,
            "label": None,
            "comment": score.reason[:500] or None,
            "scored_at": at,
        }
