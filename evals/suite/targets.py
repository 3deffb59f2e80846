"""What a suite runs: a graph, or one node of it alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langgraph.graph import END, START, StateGraph

from ...state.errors import InputError, did_you_mean
from ...state.schema import StateType, fields_of
from ...state.serde import allow
from ...state.session.fingerprint import GraphMark
from .model import digest
from .topology import Compiled, Topology, node_in, topology_of


@dataclass(frozen=True)
class Target:
    """A compiled graph, the type of its input, and the paths that it can take."""

    graph: Compiled
    state: StateType
    topology: Topology
    output_fields: tuple[str, ...]


def target_of(graph: Compiled, node: str | None = None) -> Target:
    """Return the graph, or a graph of one of its nodes alone. Raises InputError for an unknown node."""
    if node is not None:
        graph = alone(graph, node)
    builder = graph.builder
    allow(builder.state_schema, builder.input_schema)
    return Target(graph, builder.input_schema, topology_of(graph), tuple(fields_of(builder.output_schema)))


def shape_digest(graph: Compiled) -> str:
    """Tell two shapes of a graph apart: its nodes, edges and fields, not its prompts."""
    return digest(GraphMark(graph).fingerprint)


def alone(graph: Compiled, path: str) -> Compiled:
    """Return a graph in which one node, at any depth, runs alone from the state that it is given."""
    place = node_in(graph, path)
    if place is None:
        known = topology_of(graph).nodes
        raise InputError(f"The graph {graph.name!r} has no node {path!r}. {did_you_mean(path, known)}")
    holder, name = place
    spec = holder.builder.nodes[name]
    state: Any = holder.builder.state_schema
    builder: Any = StateGraph(state)
    options: dict[str, Any] = {"retry_policy": spec.retry_policy, "metadata": spec.metadata}
    if spec.input_schema is not state:
        options["input_schema"] = spec.input_schema
    builder.add_node(name, spec.runnable, **options)
    builder.add_edge(START, name)
    builder.add_edge(name, END)
    compiled: Compiled = builder.compile(name=name)
    return compiled
