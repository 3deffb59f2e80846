"""What a type checker must see through the faces beside the short one."""

from stepgraph import Session
from stepgraph.errors import BudgetExceeded, ModelUnavailable, StepgraphError
from stepgraph.evals import Case, Expected, Gate, Results, Suite, summarise
from stepgraph.testing import Price, ScriptedModel
from stepgraph.tracing import (
    CheckpointView,
    Difference,
    Thread,
    diff,
    fork,
    list_threads,
    read_history,
    score,
)


def limit_of(error: BudgetExceeded) -> str:
    return error.limit


def wait_of(error: ModelUnavailable) -> float | None:
    return error.retry_after


def describe(error: StepgraphError) -> str:
    return str(error)


suite = Suite("desk", [Case("one", {"text": "a"}, Expected(route="a"))], gates=[Gate("route", at_least=0.9)])
model = ScriptedModel(["Hi."], price=Price(input=1.0, output=2.0))


def mean_of(results: Results) -> float:
    return summarise(results).metrics[0].mean or 0.0


def changes(session: Session) -> tuple[list[CheckpointView], Difference, list[Thread], str]:
    new = fork(session, "one", at=0)
    return (
        read_history(session, "one"),
        diff(session, "one", new),
        list_threads(session.journal),
        score(session, "one", "good", True),
    )
