from __future__ import annotations

import pickle
from typing import Any

import pytest

from stepgraph.state import errors
from stepgraph.state.errors import StepgraphError, did_you_mean

DETAILS: dict[str, dict[str, Any]] = {
    "ModelError": {"model": "m", "status": 418},
    "ModelUnreachable": {"model": "m"},
    "AuthenticationFailed": {"model": "m", "status": 401},
    "ModelNotFound": {"model": "m", "status": 404},
    "ModelUnavailable": {"model": "m", "status": 429, "retry_after": 2.5},
    "CircuitOpen": {"model": "m", "retry_after": 2.5},
    "MalformedResponse": {"model": "m", "status": 200},
    "ModelRefused": {"model": "m", "status": 400},
    "ContextTooLong": {"model": "m", "status": 400},
    "ModelFiltered": {"model": "m"},
    "InvalidAnswer": {"step": "judge", "answers": ("x", "y"), "problems": "score: missing"},
    "BudgetExceeded": {"limit": "calls", "scope": "the run", "budget": {"calls": 1}, "spent": {"calls": 1}},
    "AnswerTooLate": {"review": "look", "due": "2026-11-27T10:00:00Z"},
    "DeadlinePassed": {"review": "look", "due": "2026-11-27T10:00:00Z"},
    "MCPServerFailed": {"server": "shop", "stderr": "out of stock"},
    "RetrievalFailed": {"step": "find", "retriever": "by_word"},
    "GuardTripped": {"reason": "unsafe"},
    "GraphChanged": {"changes": ("node 'draft' is gone",)},
    "MigrationFailed": {"thread": "t", "function": "with_tone", "field": "tone"},
    "RunFailed": {"thread_id": "t", "kind": "ValueError"},
    "PromptChanged": {"step": "sort", "before": "{'a', 'b'}", "now": "{'b', 'a'}"},
    "EffectUnknown": {"key": "send_mail:1"},
    "GateFailed": {"step": "plan", "reason": "too short", "output": {"outline": "1."}},
    "Rejected": {"step": "look", "reason": "too short", "output": {"outline": "1."}, "by": "ada"},
}
EVERY = sorted(
    name for name, cls in vars(errors).items() if isinstance(cls, type) and issubclass(cls, Exception)
)


@pytest.mark.parametrize("name", EVERY)
def test_an_error_survives_pickling(name: str) -> None:
    error: StepgraphError = getattr(errors, name)("what to do next", **DETAILS.get(name, {}))
    error.add_note("seen in a worker")

    revived = pickle.loads(pickle.dumps(error))

    assert type(revived) is type(error)
    assert str(revived) == "what to do next"
    assert vars(revived) == vars(error)
    assert DETAILS.get(name, {}).items() <= vars(revived).items()


def test_every_error_has_the_one_base_and_its_place_in_the_tree() -> None:
    assert len(EVERY) > 16
    for name in EVERY:
        assert issubclass(getattr(errors, name), StepgraphError)
        assert name in (errors.__doc__ or "")


def test_the_hint_names_the_nearest_name_or_all() -> None:
    assert did_you_mean("darft", ["draft", "grade"]) == "Did you mean 'draft'?"
    assert did_you_mean("x", ["draft", "grade"]) == "Known: draft, grade."
    assert did_you_mean("x", []) == "There are none."
