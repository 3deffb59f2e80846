"""Live progress of runs: one line for each node as it ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict

import click

from ...state.journal.records import Call, Decision, NodeRun, Record, Retrieval
from ...state.names import BUDGET_ENDED, WAIT
from ...state.statuses import CUT
from ...tracing.record.notes import CUT_NOTE
from ...tracing.record.spans import cost_of_call
from ...tracing.record.text import duration, money, one_line, passages_line, sureness, tokens


class Progress:
    """Listens to a journal and prints; with several runs at a time it prints each run when it ends."""

    def __init__(self, *, live: bool, before: Callable[[], None] | None = None) -> None:
        self._live = live
        self._before = before  # called before each line that is printed at once
        self._lines: dict[str, list[str]] = defaultdict(list)
        self._calls: dict[str, list[Call]] = defaultdict(list)
        self._decisions: dict[str, Decision] = {}
        self._retrievals: dict[str, list[Retrieval]] = defaultdict(list)
        self._containers: set[str] = set()

    def __call__(self, record: Record) -> None:
        try:
            self._hear(record)
        except OSError:  # nobody reads the output any more; the run goes on
            self._live = False

    def _hear(self, record: Record) -> None:
        if "|" in record.task:
            self._containers.add(record.task.rsplit("|", 1)[0])
        if isinstance(record, Call):
            self._calls[record.task].append(record)
            if record.status == "failed":
                self._say(record.thread_id, f"    {record.path}: {one_line(record.problem or '', 160)}")
        elif isinstance(record, Decision):
            self._decisions[record.task] = record
        elif isinstance(record, Retrieval):
            self._retrievals[record.task].append(record)
        elif record.task not in self._containers:
            self._say(record.thread_id, self._line(record))

    def _line(self, node_run: NodeRun) -> str:
        parts = []
        if decision := self._decisions.pop(node_run.task, None):
            parts.append(f"-> {one_line(decision.choice)}{sureness(decision.confidence)}")
            if decision.reason:
                parts.append(f"({one_line(decision.reason, 70)})")
        for call in self._calls.pop(node_run.task, ()):
            if call.status == "answered":
                used = tokens(call.input_tokens, call.output_tokens, call.estimated_tokens)
                model = call.model_answered or call.model_asked
                cost = money(cost_of_call(asdict(call)))
                cut = f", {CUT_NOTE}" if call.finish_reason == CUT else ""
                parts.append(f"{used}, {cost}, {duration(call.latency_s)}, {one_line(model)}{cut}")
        retrievals = (item for item in self._retrievals.pop(node_run.task, ()) if item.status == "found")
        parts += [passages_line(item.kept or 0, item.left_out) for item in retrievals]
        if node_run.status == "failed":
            parts.append(f"FAILED: {one_line(node_run.error or '', 160)}")
        elif node_run.status == "interrupted":
            parts.append(
                "not done: the budget ended"
                if BUDGET_ENDED in (node_run.interrupts or "")
                else "waits"
                if WAIT in (node_run.interrupts or "")
                else "waits for an answer"
            )
        took = duration(node_run.ended_at - node_run.started_at)
        return f"    {node_run.path:<34} {'  '.join(parts) or took}"

    def _say(self, thread: str, line: str) -> None:
        if self._live:
            if self._before is not None:
                self._before()
            click.echo(line)
        else:
            self._lines[thread].append(line)

    def ended(self, thread: str) -> None:
        """Print what was held back for a run that has ended."""
        for line in self._lines.pop(thread, ()):
            click.echo(line)
