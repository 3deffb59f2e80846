"""A worker's metrics: counted as calls happen, read where somebody asks, on this machine only."""

from __future__ import annotations

import asyncio
import socket
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stepgraph import Ask, Budget, ScriptedModel, Session, asubmit, aworker, chain, resume, run, step, using
from stepgraph.providers.prices import Price
from stepgraph.runners.loading import Loaded
from stepgraph.runners.metrics import WorkerMetrics, serving_metrics
from stepgraph.state.errors import InputError, ModelUnreachable, SettingsError

from ..servers import free_port
from ..tracing.receivers import Receiver

PRICE = Price(input=0, output=1_000_000)  # a dollar a word


@dataclass
class Post:
    topic: str = "tea"
    plan: str = ""
    draft: str = ""


@step("plan")
def plan(post: Post) -> Ask[str]:
    return Ask("plan it")


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask("write it")


APP = chain(plan, write, name="blog").compile()


@pytest.fixture
def metrics(session: Session) -> Iterator[WorkerMetrics]:
    found = WorkerMetrics(session, lambda: 7)
    yield found
    found.close()


def test_calls_are_counted_with_what_they_cost(session: Session, metrics: WorkerMetrics) -> None:
    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    budget = Budget(calls=9, scope="user:ada", per="day")
    with using(ScriptedModel(["a plan", "a long text"], price=PRICE)):
        run(APP, Post(), session, "t", budget=budget)
        resume(APP, session, "t")  # what is done already is no call
    with using(ScriptedModel([ValueError("no")], price=PRICE)), pytest.raises(ValueError, match="no"):
        run(APP, Post(), session, "u")
    written = {"step": "write", "model": "scripted"}
    assert value("stepgraph_calls_total", **written, status="answered") == 1
    assert value("stepgraph_tokens_total", **written, kind="output") == 3
    assert value("stepgraph_tokens_total", **written, kind="input") == 2
    assert value("stepgraph_cost_usd_total", **written) == 3
    assert value("stepgraph_call_seconds_count", **written) == 1
    assert value("stepgraph_threads", status="done") == 1
    assert value("stepgraph_threads", status="failed") == 1
    assert value("stepgraph_worker_threads") == 7
    assert value("stepgraph_lease_renewals_total") == 0
    assert value("stepgraph_budget_left", scope="user:ada", per="day", resource="calls") == 7


def test_failed_calls_are_counted_by_their_error(session: Session, metrics: WorkerMetrics) -> None:
    gone = ScriptedModel([ModelUnreachable("gone: no\nroute", model="m")] * 9)
    with using(gone), pytest.raises(ModelUnreachable):
        run(APP, Post(), session, "t")
    found = metrics.registry.get_sample_value(
        "stepgraph_call_errors_total", {"model": "scripted", "error": "ModelUnreachable"}
    )
    assert found is not None
    assert found >= 1


def test_they_are_served_to_this_machine(session: Session) -> None:
    with serving_metrics(session, 0) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert b"# TYPE stepgraph_calls_total counter" in answer.read()
        with (
            pytest.raises(InputError, match=f"--metrics {port}: .*Take another port"),
            serving_metrics(session, port),
        ):
            pass
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port or 0), 5)
    assert session.journal.listeners == []
    with serving_metrics(session, None) as none:
        assert none is None


def test_without_the_package_it_is_told_how_to_get_it(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepgraph.runners.metrics.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"stepgraph\[metrics\]"), serving_metrics(session, 0):
        pass


async def test_a_worker_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("blog_of_metrics")
    module.blog = APP
    monkeypatch.setitem(sys.modules, "blog_of_metrics", module)
    port = free_port()
    ready = asyncio.Event()
    serving = asyncio.create_task(
        aworker("blog_of_metrics:blog", db=tmp_path / "runs.sqlite", metrics=port, ready=ready.set)
    )
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    text = await asyncio.to_thread(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read())
    assert b"stepgraph_worker_threads 0.0" in text
    serving.cancel()
    await asyncio.gather(serving, waiting, return_exceptions=True)


async def test_a_worker_sends_them_over_otlp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    database, ready = tmp_path / "runs.sqlite", asyncio.Event()
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{receiver.url}/v1/metrics")
        graphs = {"blog": Loaded(APP, "blog")}
        models = ScriptedModel(["a plan", "a long text"])
        serving = asyncio.create_task(aworker(graphs, db=database, models=models, ready=ready.set))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        run = await asubmit("blog", {"topic": "tea"}, db=database, thread_id="t")
        await run.aresult(60)
        serving.cancel()
        await asyncio.gather(serving, waiting, return_exceptions=True)
        duration = receiver.metrics[-1]["gen_ai.client.operation.duration"]
    assert sum(point.count for point in duration.histogram.data_points) == 2
