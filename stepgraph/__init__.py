"""stepgraph: agentic workflows on LangGraph, visible, priced, resumable and tested.

The names below are the public face; each lives in one of the folders beside this one. They load when
first used, so that the command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .graphs.acting import agent
    from .graphs.cascading import cascade
    from .graphs.chaining import chain
    from .graphs.ensembling import ensemble
    from .graphs.estimating import Estimate, estimate
    from .graphs.fanning import fan_out
    from .graphs.gating import gate
    from .graphs.guarding import guard
    from .graphs.limiting import within
    from .graphs.mapping import map_reduce
    from .graphs.orchestrating import orchestrate
    from .graphs.refining import refine
    from .graphs.routing import route
    from .graphs.sectioning import section
    from .graphs.verifying import verify
    from .graphs.voting import Tally, vote
    from .graphs.workflow import Workflow
    from .nodes.ask import Ask, Choice
    from .nodes.effects import effect
    from .nodes.neighbours import nearest
    from .nodes.reviews import Verdict, review
    from .nodes.rules import rule
    from .nodes.splitting import split_text
    from .nodes.steps import Step, step
    from .providers.model import ToolCall
    from .providers.roles import using
    from .providers.scripted import ScriptedModel
    from .runners.local import RunResult, arun, run
    from .state.budget import Budget
    from .state.errors import StepgraphError
    from .state.session import Session
    from .tracing.live import Tracing

__all__ = [
    "Ask",
    "Budget",
    "Choice",
    "Estimate",
    "RunResult",
    "ScriptedModel",
    "Session",
    "Step",
    "StepgraphError",
    "Tally",
    "ToolCall",
    "Tracing",
    "Verdict",
    "Workflow",
    "agent",
    "arun",
    "cascade",
    "chain",
    "effect",
    "ensemble",
    "estimate",
    "fan_out",
    "gate",
    "guard",
    "map_reduce",
    "nearest",
    "orchestrate",
    "refine",
    "review",
    "route",
    "rule",
    "run",
    "section",
    "split_text",
    "step",
    "using",
    "verify",
    "vote",
    "within",
]

_HOMES = {
    "Ask": "nodes.ask",
    "Budget": "state.budget",
    "Choice": "nodes.ask",
    "RunResult": "runners.local",
    "ScriptedModel": "providers.scripted",
    "Session": "state.session",
    "Step": "nodes.steps",
    "StepgraphError": "state.errors",
    "Tally": "graphs.voting",
    "ToolCall": "providers.model",
    "Tracing": "tracing.live",
    "Verdict": "nodes.reviews",
    "Workflow": "graphs.workflow",
    "agent": "graphs.acting",
    "arun": "runners.local",
    "cascade": "graphs.cascading",
    "chain": "graphs.chaining",
    "effect": "nodes.effects",
    "ensemble": "graphs.ensembling",
    "Estimate": "graphs.estimating",
    "estimate": "graphs.estimating",
    "fan_out": "graphs.fanning",
    "gate": "graphs.gating",
    "guard": "graphs.guarding",
    "map_reduce": "graphs.mapping",
    "nearest": "nodes.neighbours",
    "orchestrate": "graphs.orchestrating",
    "refine": "graphs.refining",
    "review": "nodes.reviews",
    "route": "graphs.routing",
    "rule": "nodes.rules",
    "run": "runners.local",
    "section": "graphs.sectioning",
    "split_text": "nodes.splitting",
    "step": "nodes.steps",
    "using": "providers.roles",
    "verify": "graphs.verifying",
    "vote": "graphs.voting",
    "within": "graphs.limiting",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'stepgraph' has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
