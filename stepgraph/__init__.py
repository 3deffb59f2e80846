"""stepgraph: agentic workflows on LangGraph, visible, priced, resumable and tested.

The names below are the public face; each lives in one of the folders beside this one. They load when
first used, so that the command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .graphs.cost_bound import Estimate, estimate
    from .graphs.engine.workflow import Workflow
    from .graphs.patterns.agent import agent
    from .graphs.patterns.cascade import cascade
    from .graphs.patterns.chain import chain
    from .graphs.patterns.ensemble import ensemble
    from .graphs.patterns.fan_out import fan_out
    from .graphs.patterns.gate import gate
    from .graphs.patterns.guard import guard
    from .graphs.patterns.map_reduce import map_reduce
    from .graphs.patterns.orchestrate import orchestrate
    from .graphs.patterns.refine import refine
    from .graphs.patterns.route import route
    from .graphs.patterns.section import section
    from .graphs.patterns.verify import verify
    from .graphs.patterns.vote import Tally, vote
    from .graphs.patterns.within import within
    from .nodes.ask import Ask, Choice
    from .nodes.effects import effect
    from .nodes.neighbours import nearest
    from .nodes.reviews import Verdict, review
    from .nodes.rules import rule
    from .nodes.splitting import split_text
    from .nodes.steps import Step, step
    from .providers.model import ToolCall
    from .providers.stack.roles import using
    from .providers.testing.scripted import ScriptedModel
    from .runners.run import RunResult, arun, run
    from .state.budget import Budget
    from .state.errors import StepgraphError
    from .state.session.session import Session
    from .tracing.export.live import Tracing

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
    "RunResult": "runners.run",
    "ScriptedModel": "providers.testing.scripted",
    "Session": "state.session.session",
    "Step": "nodes.steps",
    "StepgraphError": "state.errors",
    "Tally": "graphs.patterns.vote",
    "ToolCall": "providers.model",
    "Tracing": "tracing.export.live",
    "Verdict": "nodes.reviews",
    "Workflow": "graphs.engine.workflow",
    "agent": "graphs.patterns.agent",
    "arun": "runners.run",
    "cascade": "graphs.patterns.cascade",
    "chain": "graphs.patterns.chain",
    "effect": "nodes.effects",
    "ensemble": "graphs.patterns.ensemble",
    "Estimate": "graphs.cost_bound",
    "estimate": "graphs.cost_bound",
    "fan_out": "graphs.patterns.fan_out",
    "gate": "graphs.patterns.gate",
    "guard": "graphs.patterns.guard",
    "map_reduce": "graphs.patterns.map_reduce",
    "nearest": "nodes.neighbours",
    "orchestrate": "graphs.patterns.orchestrate",
    "refine": "graphs.patterns.refine",
    "review": "nodes.reviews",
    "route": "graphs.patterns.route",
    "rule": "nodes.rules",
    "run": "runners.run",
    "section": "graphs.patterns.section",
    "split_text": "nodes.splitting",
    "step": "nodes.steps",
    "using": "providers.stack.roles",
    "verify": "graphs.patterns.verify",
    "vote": "graphs.patterns.vote",
    "within": "graphs.patterns.within",
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
