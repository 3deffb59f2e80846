"""A run of a suite in Langfuse, over the real SDK's client, against a server that keeps what it gets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from stepgraph.evals.files.results import Results
from stepgraph.evals.langfuse.items import experiment_id, item_id
from stepgraph.evals.langfuse.push import project_of, push_run
from stepgraph.evals.suite.model import Suite
from stepgraph.state.errors import InputError, SettingsError
from stepgraph.state.session.session import Session
from stepgraph.tracing.export.otlp import Destination
from stepgraph.tracing.record.reads import unsent_threads

from ...servers import unused_url
from ..conftest import suite_of
from ..langfuse_server import PROJECT, LangfuseServer, attributes

NOTES = """
evaluators:
  - { name: calm, kind: exact, node: bad/refine_reply/reply, field: answer, visit: first }
cases:
  - id: loved
    tags: [easy]
    input: { text: I love it. }
    expect: { route: good, output: { answer: fine } }
  - id: late
    input: { text: "It is late. Write to ada@example.org" }
    expect: { route: bad, calm: Calm down., nodes: { bad/measure: { last: { size: 18 } } } }
"""
EXPERIMENT = "langfuse.experiment."


@pytest.fixture
def langfuse() -> Iterator[LangfuseServer]:
    with LangfuseServer() as server:
        yield server


@pytest.fixture
def ran(evaluate: Callable[..., Results]) -> tuple[Suite, Results]:
    return suite_of(NOTES), evaluate(NOTES, run="main")


def test_cases_become_items_without_personal_data(
    langfuse: LangfuseServer, session: Session, ran: tuple[Suite, Results]
) -> None:
    pushed = push_run(*ran, session, langfuse.project())
    assert (pushed.items, pushed.problem) == (2, None)
    assert [body["name"] for body in langfuse.bodies("/api/public/v2/datasets")] == ["notes"]
    assert langfuse.bodies("/api/public/dataset-items") == [
        {
            "datasetName": "notes",
            "id": item_id("notes", "loved"),
            "input": {"text": "I love it."},
            "expectedOutput": {"output": {"answer": "fine"}, "route": "good"},
            "metadata": {"suite": "notes", "case": "loved", "tags": ["easy"]},
        },
        {
            "datasetName": "notes",
            "id": item_id("notes", "late"),
            "input": {"text": "It is late. Write to [email]"},
            "expectedOutput": {
                "route": "bad",
                "nodes": {"bad/measure": {"last": {"size": 18}}},
                "calm": "Calm down.",
            },
            "metadata": {"suite": "notes", "case": "late", "tags": []},
        },
    ]


def test_traces_are_linked_to_their_items_on_every_span(
    langfuse: LangfuseServer, session: Session, ran: tuple[Suite, Results]
) -> None:
    pushed = push_run(*ran, session, langfuse.project())
    assert pushed.traces == 2
    made = experiment_id(PROJECT, "dataset notes", "main")
    assert pushed.url == f"{langfuse.url}/project/{PROJECT}/experiments/results?baseline={made}"
    roots = [span for span in langfuse.spans if not span.parent_span_id]
    assert len(roots) == 2
    for span in langfuse.spans:
        found = attributes(span)
        (root,) = [r for r in roots if r.trace_id == span.trace_id]
        assert found[f"{EXPERIMENT}id"] == made
        assert found[f"{EXPERIMENT}name"] == "main"
        assert found[f"{EXPERIMENT}dataset.id"] == "dataset notes"
        assert found[f"{EXPERIMENT}item.root_observation_id"] == root.span_id.hex()
        assert found["langfuse.environment"] == "sdk-experiment"
    items = {attributes(root)[f"{EXPERIMENT}item.id"]: attributes(root) for root in roots}
    assert set(items) == {item_id("notes", "loved"), item_id("notes", "late")}
    told = items[item_id("notes", "loved")]
    assert json.loads(told[f"{EXPERIMENT}item.expected_output"])["route"] == "good"
    assert json.loads(told[f"{EXPERIMENT}item.metadata"])["repeat"] == 1
    names = {header.lower(): value for _, headers, _ in langfuse.posts for header, value in headers.items()}
    assert names["x-langfuse-ingestion-version"] == "4"


def test_scores_lie_on_the_item_the_node_and_the_experiment(
    langfuse: LangfuseServer, session: Session, ran: tuple[Suite, Results]
) -> None:
    push_run(*ran, session, langfuse.project())
    late = next(
        s for s in langfuse.spans if attributes(s).get(f"{EXPERIMENT}item.id") == item_id("notes", "late")
    )
    spans = {s.span_id.hex(): s for s in langfuse.spans if s.trace_id == late.trace_id}
    of_late = {s["name"]: s for s in langfuse.scores if s.get("traceId") == late.trace_id.hex()}
    places = {name: spans[score["observationId"]] for name, score in of_late.items()}
    assert not places["route"].parent_span_id
    assert places["node:bad/measure"].name == "measure"
    replies = sorted((s for s in spans.values() if s.name == "reply"), key=lambda s: s.start_time_unix_nano)
    assert (len(replies) >= 2, places["calm"].span_id) == (True, replies[0].span_id)
    assert {name: score["value"] for name, score in of_late.items()} == {
        "completed": 1.0,
        "route": 1.0,
        "node:bad/measure": 1.0,
        "calm": 1.0,
    }
    made = experiment_id(PROJECT, "dataset notes", "main")
    whole = {s["name"]: s["value"] for s in langfuse.scores if s.get("datasetRunId") == made}
    assert whole == {"completed": 1.0, "output": 1.0, "route": 1.0, "node:bad/measure": 1.0, "calm": 1.0}


def test_sending_again_changes_nothing_and_leaves_nothing_for_the_outbox(
    langfuse: LangfuseServer, session: Session, ran: tuple[Suite, Results]
) -> None:
    project = langfuse.project()
    first = push_run(*ran, session, project)
    spans, scores = [s.SerializeToString() for s in langfuse.spans], langfuse.scores
    assert unsent_threads(session.journal, project.name) == []
    langfuse.posts.clear()
    langfuse.page = 1
    assert push_run(*ran, session, project) == first
    assert langfuse.bodies("/api/public/dataset-items") == []
    assert (len(spans) > 0, langfuse.spans) == (True, []), (
        "sent twice, they count twice until they are merged"
    )
    assert [score["id"] for score in langfuse.scores] == [
        score["id"] for score in scores if "datasetRunId" in score
    ]


def test_a_changed_expectation_changes_its_item_only(
    langfuse: LangfuseServer, session: Session, evaluate: Callable[..., Results]
) -> None:
    push_run(suite_of(NOTES), evaluate(NOTES, run="one"), session, langfuse.project())
    changed = NOTES.replace("answer: fine", "answer: good")
    push_run(suite_of(changed), evaluate(changed, run="two"), session, langfuse.project())
    items = langfuse.bodies("/api/public/dataset-items")
    assert [item["metadata"]["case"] for item in items] == ["loved", "late", "loved"]


@pytest.mark.parametrize(
    ("refuses", "sent"),
    [("/datasets", (0, 0, 0)), ("/dataset-items", (0, 0, 0)), ("/traces", (2, 0, 0)), ("/scores", (2, 2, 0))],
)
def test_whatever_is_refused_waits_and_is_sent_later(
    langfuse: LangfuseServer,
    session: Session,
    ran: tuple[Suite, Results],
    refuses: str,
    sent: tuple[int, int, int],
) -> None:
    langfuse.refuses, langfuse.status = refuses, 403
    pushed = push_run(*ran, session, langfuse.project())
    assert pushed.problem is not None
    assert "answered 403" in pushed.problem
    assert "sk-lf" not in pushed.problem
    assert (pushed.items, pushed.traces, pushed.scores) == sent
    langfuse.refuses = "nothing"
    whole = push_run(*ran, session, langfuse.project())
    assert (whole.items, whole.traces, whole.problem) == (2, 2, None)


def test_a_server_that_is_not_there_is_told_about(session: Session, ran: tuple[Suite, Results]) -> None:
    from stepgraph.tracing.export.settings import langfuse as destination

    pushed = push_run(*ran, session, destination("pk-lf-test", "sk-lf-test", unused_url()))
    assert pushed.problem is not None
    assert "cannot be reached" in pushed.problem


def test_results_of_another_suite_or_another_file_are_refused(
    langfuse: LangfuseServer, session: Session, ran: tuple[Suite, Results]
) -> None:
    suite, results = ran
    with pytest.raises(InputError, match="another version of the suite"):
        push_run(replace(suite, repeats=2), results, session, langfuse.project())
    with Session("other.sqlite") as other, pytest.raises(InputError, match="does not hold the threads"):
        push_run(suite, results, other, langfuse.project())
    assert langfuse.posts == []


def test_without_a_project_nothing_is_begun() -> None:
    with pytest.raises(SettingsError, match="LANGFUSE_PUBLIC_KEY"):
        project_of([Destination("otlp", "http://127.0.0.1:1/v1/traces")])
