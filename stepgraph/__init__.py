"""stepgraph: agentic workflows on LangGraph, visible, priced, resumable and tested.

The names below are the public face; each lives in one of the folders beside this one. They load when
first used, so that the command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .graphs.cascading import cascade
    from .graphs.chaining import chain
    from .graphs.gating import gate
    from .graphs.fanning import fan_out
    from .graphs.limiting import within
    from .graphs.refining import refine
    from .graphs.routing import route
    from .graphs.sectioning import section
    from .graphs.verifying import verify
    from .graphs.workflow import Workflow
    from .nodes.ask import Ask, Choice
    from .nodes.effects import effect
    from .nodes.neighbours import nearest
    from .nodes.reviews import Verdict, review
    from .nodes.rules import rule
    from .nodes.steps import Step, step
    from .providers.roles import using
    from .providers.scripted import ScriptedModel
    from .runners.local import RunResult, arun, run
    from .state.budget import Budget
    from .state.errors import StepgraphError
    from .state.session import Session

__all__ = [
    "Ask",
    "Budget",
    "Choice",
    "RunResult",
    "ScriptedModel",
    "Session",
    "Step",
    "StepgraphError",
    "Verdict",
    "Workflow",
    "arun",
    "cascade",
    "chain",
    "effect",
    "fan_out",
    "gate",
    "nearest",
    "refine",
    "review",
    "route",
    "rule",
    "run",
    "section",
    "step",
    "using",
    "verify",
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
    "Verdict": "nodes.reviews",
    "Workflow": "graphs.workflow",
    "arun": "runners.local",
    "cascade": "graphs.cascading",
    "chain": "graphs.chaining",
    "effect": "nodes.effects",
    "fan_out": "graphs.fanning",
    "gate": "graphs.gating",
    "nearest": "nodes.neighbours",
    "refine": "graphs.refining",
    "review": "nodes.reviews",
    "route": "graphs.routing",
    "rule": "nodes.rules",
    "run": "runners.local",
    "section": "graphs.sectioning",
    "step": "nodes.steps",
    "using": "providers.roles",
    "verify": "graphs.verifying",
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
