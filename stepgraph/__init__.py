"""stepgraph: agentic workflows on LangGraph, visible, priced, resumable and tested.

These are the names that a workflow needs. `stepgraph.errors`, `stepgraph.evals`, `stepgraph.testing` and
`stepgraph.tracing` hold the others. Each name loads when it is first used, so the command line starts fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .state.lazy_names import lazy_names

if TYPE_CHECKING:
    from .graphs.cost_bound import Estimate as Estimate, estimate as estimate
    from .graphs.engine.deciding import answering as answering
    from .graphs.engine.workflow import Workflow as Workflow
    from .graphs.patterns.agent import agent as agent
    from .graphs.patterns.attempt import attempt as attempt
    from .graphs.patterns.cascade import cascade as cascade
    from .graphs.patterns.chain import chain as chain
    from .graphs.patterns.ensemble import ensemble as ensemble
    from .graphs.patterns.fan_out import fan_out as fan_out
    from .graphs.patterns.gate import gate as gate
    from .graphs.patterns.guard import guard as guard
    from .graphs.patterns.map_reduce import map_reduce as map_reduce
    from .graphs.patterns.orchestrate import PlanRules as PlanRules, orchestrate as orchestrate
    from .graphs.patterns.refine import refine as refine
    from .graphs.patterns.review import review as review
    from .graphs.patterns.route import route as route
    from .graphs.patterns.section import section as section
    from .graphs.patterns.verify import verify as verify
    from .graphs.patterns.vote import Tally as Tally, vote as vote
    from .graphs.patterns.within import within as within
    from .nodes.ask import Ask as Ask, Choice as Choice
    from .nodes.code_tools import code_tools as code_tools
    from .nodes.content_blocks import attachment as attachment
    from .nodes.contexts import Context as Context
    from .nodes.effects import effect as effect
    from .nodes.ends import end as end
    from .nodes.mcp_servers import MCPServer as MCPServer, mcp as mcp
    from .nodes.neighbours import nearest as nearest
    from .nodes.passages import (
        Citation as Citation,
        Passage as Passage,
        check_citations as check_citations,
        cited_passages as cited_passages,
        render_passages as render_passages,
    )
    from .nodes.retrieval import retrieve as retrieve
    from .nodes.reviews import Verdict as Verdict
    from .nodes.rules import rule as rule
    from .nodes.splitting import split_text as split_text
    from .nodes.steps import Step as Step, step as step
    from .nodes.waits import wait as wait
    from .providers.model import (
        CallContext as CallContext,
        Model as Model,
        Reply as Reply,
        Request as Request,
        ToolCall as ToolCall,
    )
    from .providers.stack.roles import using as using
    from .providers.testing.scripted import ScriptedModel as ScriptedModel
    from .runners.result import RunResult as RunResult
    from .runners.run import (
        aresume as aresume,
        arun as arun,
        astream_run as astream_run,
        resume as resume,
        run as run,
        stream_run as stream_run,
    )
    from .runners.scheduling import (
        ScheduleHandle as ScheduleHandle,
        aschedule as aschedule,
        ascheduled as ascheduled,
        schedule as schedule,
        scheduled as scheduled,
        schedules as schedules,
    )
    from .runners.submitting import (
        RunHandle as RunHandle,
        asubmit as asubmit,
        asubmitted as asubmitted,
        submit as submit,
        submitted as submitted,
    )
    from .runners.workers import aworker as aworker, worker as worker
    from .state.budget import Budget as Budget
    from .state.errors import StepgraphError as StepgraphError
    from .state.session.session import Session as Session
    from .state.session.versions import Migration as Migration, migration as migration, versioned as versioned
    from .tracing.export.live import Tracing as Tracing
    from .tracing.record.pending import due as due
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            ".graphs.cost_bound": "Estimate estimate",
            ".graphs.engine.deciding": "answering",
            ".graphs.engine.workflow": "Workflow",
            ".graphs.patterns.agent": "agent",
            ".graphs.patterns.attempt": "attempt",
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
            ".nodes.contexts": "Context",
            ".nodes.code_tools": "code_tools",
            ".nodes.content_blocks": "attachment",
            ".nodes.effects": "effect",
            ".nodes.ends": "end",
            ".nodes.mcp_servers": "MCPServer mcp",
            ".nodes.neighbours": "nearest",
            ".nodes.passages": "Citation Passage check_citations cited_passages render_passages",
            ".nodes.retrieval": "retrieve",
            ".nodes.reviews": "Verdict",
            ".nodes.rules": "rule",
            ".nodes.splitting": "split_text",
            ".nodes.steps": "Step step",
            ".nodes.waits": "wait",
            ".providers.model": "CallContext Model Reply Request ToolCall",
            ".providers.stack.roles": "using",
            ".providers.testing.scripted": "ScriptedModel",
            ".runners.result": "RunResult",
            ".runners.run": "aresume arun astream_run resume run stream_run",
            ".runners.scheduling": "ScheduleHandle aschedule ascheduled schedule scheduled schedules",
            ".runners.submitting": "RunHandle asubmit asubmitted submit submitted",
            ".runners.workers": "aworker worker",
            ".state.budget": "Budget",
            ".state.errors": "StepgraphError",
            ".state.session.session": "Session",
            ".state.session.versions": "Migration migration versioned",
            ".tracing.export.live": "Tracing",
            ".tracing.record.pending": "due",
        },
    )
