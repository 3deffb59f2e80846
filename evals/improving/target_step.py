"""Which step a node asks with, and what it asked in a trial."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...nodes.costs import asks_in, cost_of
from ...nodes.steps import Step
from ...state.errors import InputError, did_you_mean
from ...state.journal.journal import Journal
from ...state.names import without_private
from ...state.schema import fields_of, parse_input
from ...tracing.record.reads import read_calls, read_node_runs
from ...tracing.record.spans import Row
from ...tracing.record.values import cut_text
from ..suite.topology import Compiled, node_in, topology_of


def step_of(graph: Compiled, node: str) -> Step[Any, Any]:
    """Return the step that a node, at any depth, asks a model with. Raises InputError for any other node."""
    steps = _steps_by_node(graph)
    asking = sorted(path for path, each in steps.items() if len(each) == 1)
    if node not in steps:
        raise InputError(f"The graph {graph.name!r} has no node {node!r}. {did_you_mean(node, asking)}")
    own = steps[node]
    if not own:
        raise InputError(
            f"The node {node!r} asks no model, so it has no prompt. Nodes with one: {', '.join(asking)}."
        )
    if len(own) > 1:
        inside = [path for path in asking if path.startswith(f"{node}/")]
        raise InputError(f"The node {node!r} has several prompts. Name one of {', '.join(inside or asking)}.")
    return own[0]


def _steps_by_node(graph: Compiled) -> dict[str, list[Step[Any, Any]]]:
    by_node: dict[str, list[Step[Any, Any]]] = {}
    for path in topology_of(graph).nodes:
        place = node_in(graph, path)
        runnable = place[0].builder.nodes[place[1]].runnable if place is not None else None
        own = by_node.setdefault(path, [])
        outer, _, name = path.rpartition("/")
        own += [
            step for step in by_node.get(outer, []) if step.name == name
        ]  # an agent asks in an inner node
        for asks in asks_in(cost_of(runnable)):
            if isinstance(asks.step, Step) and not any(asks.step.has_prompt_of(step) for step in own):
                own.append(asks.step)
    return by_node


@dataclass(frozen=True)
class Asked:
    """One question of a step in a trial, and the answer; both text."""

    question: str
    answer: str


def asked_in(journal: Journal, thread: str, step: Step[Any, Any]) -> list[Asked]:
    """Return what a step asked in a thread, and what was answered, the oldest first."""
    return [
        Asked(_question(row), row["answer"] or row["tool_calls"] or "")
        for row in _calls(journal, thread, step)
    ]


def states_in(journal: Journal, thread: str, step: Step[Any, Any]) -> Iterator[Any]:
    """Yield the states of which a step made its questions in a thread, as far as they are whole on record."""
    tasks = {row["task"] for row in _calls(journal, thread, step)}
    known = set(fields_of(step.state))
    for row in read_node_runs(journal, thread):
        inputs = json.loads(row["input"]) if row["task"] in tasks and row["input"] else None
        if not isinstance(inputs, Mapping) or cut_text(inputs) or any(map(cut_text, inputs.values())):
            continue
        values = {name: value for name, value in without_private(dict(inputs)).items() if name in known}
        try:
            yield parse_input(step.state, values)
        except InputError:
            continue


def _calls(journal: Journal, thread: str, step: Step[Any, Any]) -> list[Row]:
    rows = read_calls(journal, thread)
    return [row for row in rows if row["step"] == step.name and row["status"] in ("answered", "rejected")]


def _question(row: Row) -> str:
    messages = json.loads(row["messages"] or "[]")
    return "\n\n".join(f"[{message.get('role')}] {message.get('content')}" for message in messages)
