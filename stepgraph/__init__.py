"""stepgraph: agentic workflows on LangGraph, visible, priced, resumable and tested.

These are the names that a workflow needs. `stepgraph.errors`, `stepgraph.evals`, `stepgraph.testing` and
`stepgraph.tracing` hold the others. Each name loads when it is first used, so the command line starts fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .state.lazy_names import lazy_names

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
    from .graphs.patterns.orchestrate import PlanRules, orchestrate
    from .graphs.patterns.refine import refine
    from .graphs.patterns.review import review
    from .graphs.patterns.route import route
    from .graphs.patterns.section import section
    from .graphs.patterns.verify import verify
    from .graphs.patterns.vote import Tally, vote
    from .graphs.patterns.within import within
    from .nodes.ask import Ask, Choice
    from .nodes.effects import effect
    from .nodes.neighbours import nearest
    from .nodes.reviews import Verdict
    from .nodes.rules import rule
    from .nodes.splitting import split_text
    from .nodes.steps import Step, step
    from .providers.model import CallContext, Model, Reply, Request, ToolCall
    from .providers.stack.roles import using
    from .providers.testing.scripted import ScriptedModel
    from .runners.run import RunResult, aresume, arun, resume, run
    from .state.budget import Budget
    from .state.errors import StepgraphError
    from .state.session.session import Session
    from .tracing.export.live import Tracing
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            ".graphs.cost_bound": "Estimate estimate",
            ".graphs.engine.workflow": "Workflow",
            ".graphs.patterns.agent": "agent",
            ".graphs.patterns.cascade": "cascade",
            ".graphs.patterns.chain": "chain",
            ".graphs.patterns.ensemble": "ensemble",
            ".graphs.patterns.fan_out": "fan_out",
            ".graphs.patterns.gate": "gate",
            ".graphs.patterns.guard": "guard",
            ".graphs.patterns.map_reduce": "map_reduce",
            ".graphs.patterns.orchestrate": "PlanRules orchestrate",
            ".graphs.patterns.refine": "refine",
            ".graphs.patterns.review": "review",
            ".graphs.patterns.route": "route",
            ".graphs.patterns.section": "section",
            ".graphs.patterns.verify": "verify",
            ".graphs.patterns.within": "within",
            ".graphs.patterns.vote": "Tally vote",
            ".nodes.ask": "Ask Choice",
            ".nodes.effects": "effect",
            ".nodes.neighbours": "nearest",
            ".nodes.reviews": "Verdict",
            ".nodes.rules": "rule",
            ".nodes.splitting": "split_text",
            ".nodes.steps": "Step step",
            ".providers.model": "CallContext Model Reply Request ToolCall",
            ".providers.stack.roles": "using",
            ".providers.testing.scripted": "ScriptedModel",
            ".runners.run": "RunResult aresume arun resume run",
            ".state.budget": "Budget",
            ".state.errors": "StepgraphError",
            ".state.session.session": "Session",
            ".tracing.export.live": "Tracing",
        },
    )

__all__ = [
    "Ask",
    "Budget",
    "CallContext",
    "Choice",
    "Estimate",
    "Model",
    "PlanRules",
    "Reply",
    "Request",
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
    "aresume",
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
    "resume",
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
