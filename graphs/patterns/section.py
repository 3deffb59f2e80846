"""The section: independent aspects of one input, worked on at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.channels import Topic
from langgraph.graph import END, START
from langgraph.typing import StateT

from ...nodes.costs import costs_of
from ...nodes.node import Node, Update, record_decision
from ...state.errors import DefinitionError, did_you_mean
from ...state.schema import check_fields, extended, values_of
from ..engine.branches import FATAL, Branch, branch, timed
from ..engine.deciding import answer_of
from ..engine.options import check_failed, check_field, check_timeout
from ..engine.workflow import NodeLike, Workflow, state_of, written_by

CHANNEL = "stepgraph_missing"
Reasons = Annotated[list[tuple[str, str]], Topic]


@dataclass(eq=False)
class _ReportMissing(Node[Any]):
    """Writes which branches are missing, and why, to the user's field."""

    writes: str

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        return {self.writes: dict(values_of(input).get(CHANNEL) or ())}


def section(
    branches: Mapping[str, NodeLike[StateT]],
    *,
    merge: NodeLike[StateT] | None = None,
    timeout_s: float | None = None,
    failed: Literal["fail", "skip"] = "fail",
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
    missing: str | None = None,
    name: str | None = None,
) -> Workflow[StateT]:
    """Run independent branches at once, each writing fields of its own, and then `merge`.

    A branch that raises, or runs longer than `timeout_s` seconds, fails the whole (`failed="fail"`) or is
    left out (`failed="skip"`); one named in `defaults` writes that update instead. `missing` names a
    field of type `dict[str, str]` that takes the branches that were left out, with the reasons.

    Costs what all branches and `merge` cost: N steps make N model calls.

        section({"legal": check_law, "money": check_prices}, merge=summarise, timeout_s=60)
    """
    if not isinstance(branches, Mapping) or not branches:
        raise DefinitionError("section() takes its branches as a mapping: section({name: part, …}).")
    check_timeout("section", timeout_s)
    check_failed("section", failed)
    parts = [*branches.values(), *([merge] if merge is not None else [])]
    state = state_of(parts, "section")
    graph: Workflow[StateT] = Workflow(state, name or f"section_{next(iter(branches))}")
    _check_apart(graph, branches)
    defaults = {} if defaults is None else dict(defaults)
    for label, update in defaults.items():
        if label not in branches:
            raise DefinitionError(
                f"section(defaults=…): no branch {label!r}. {did_you_mean(label, branches)}"
            )
        check_fields(state, update, f"section: the default of {label!r}")

    nodes = []
    for label, part in branches.items():
        limits = _BranchLimits(label, timeout_s, failed, defaults.get(label), reports=missing is not None)
        node = graph.add_part(part, label, runs_as=branch(part, graph, limits))
        graph.inlined.add(node)
        graph.add_edge(START, node)
        nodes.append(node)
    last: str | list[str] = nodes
    if missing is not None:
        check_field("section", state, dict[str, str], missing=missing)
        seen = extended(state, CHANNEL, Reasons)
        last = _join(graph, last, graph.add_part(_ReportMissing(missing), "missing", reads=seen))
    if merge is not None:
        last = _join(graph, last, graph.add_part(merge, "merge"))
    for node in [last] if isinstance(last, str) else last:
        graph.add_edge(node, END)
    graph.cost = costs_of(parts)
    graph.writes = answer_of(merge)
    return graph


def _join(graph: Workflow[Any], sources: str | list[str], node: str) -> str:
    graph.add_edge(sources, node)
    return node


@dataclass(frozen=True)
class _BranchLimits:
    """How long a branch may take, and what it writes when it fails."""

    label: str
    timeout_s: float | None
    failed: str
    default: Mapping[str, Any] | None
    reports: bool

    async def __call__(self, state: Any, config: RunnableConfig, work: Branch) -> Update:
        try:
            return await timed(work, self.timeout_s, f"Branch {self.label!r}")
        except FATAL:
            raise
        except Exception as error:
            if self.default is None and self.failed == "fail":
                raise
            reason = f"{type(error).__name__}: {error}"
            choice = "left out" if self.default is None else "default"
            record_decision(config, "section", choice, reason=f"{self.label}: {reason}")
            update = dict(self.default or {})
            return {**update, CHANNEL: (self.label, reason)} if self.reports else update


def _check_apart(graph: Workflow[Any], branches: Mapping[str, Any]) -> None:
    """Raise DefinitionError for two branches that are seen to write one field without a reducer."""
    plain = graph.plain_fields()
    writers: dict[str, str] = {}
    for label, part in branches.items():
        for field in sorted((written_by(part) or set()) & plain):
            if field in writers:
                raise DefinitionError(
                    f"section: the branches {writers[field]!r} and {label!r} both write {field!r}. Let each "
                    "write a field of its own and merge them after, or give the field a reducer."
                )
            writers[field] = label
