"""Metrics over OTLP: what the conventions want arrives, each call once, and nothing unless asked."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics

from stepgraph import Ask, Session, chain, step, using
from stepgraph.tracing.export import live
from stepgraph.tracing.export.live import Tracing
from stepgraph.tracing.export.otlp_metrics import MetricsDestination, Temporality
from stepgraph.tracing.export.settings import TracingSettings, read_settings

from ...servers import Answer, ChatServer, Fault, unused_url
from ..receivers import Receiver, attributes

TOKENS, SECONDS = gen_ai_metrics.GEN_AI_CLIENT_TOKEN_USAGE, gen_ai_metrics.GEN_AI_CLIENT_OPERATION_DURATION
NEWER = "gen_ai.client.inference."


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write on {post.topic}")


APP = chain(write).compile()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def tracing(receiver: Receiver, temporality: Temporality = "cumulative", **more: Any) -> Tracing:
    url = more.pop("url", f"{receiver.url}/v1/metrics")
    to = MetricsDestination("metrics", url, {"x-key": "k"}, temporality=temporality, **more)
    return Tracing(TracingSettings(metrics=(to,)))


def until(holds: Callable[[], bool]) -> None:
    for _ in range(3000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("what was waited for did not come")


def points(metrics: dict[str, Any], name: str) -> list[Any]:
    metric = metrics[name]
    return list(getattr(metric, metric.WhichOneof("data")).data_points)


def test_what_arrives_is_what_the_conventions_want(
    server: ChatServer, receiver: Receiver, tmp_path: Path
) -> None:
    server.will(
        Answer("one", input_tokens=100, output_tokens=31, cached=40), Answer("two", input_tokens=5000)
    )
    with (
        using(server.spec(retries=0)),
        Session(tmp_path / "runs.sqlite", tracing=tracing(receiver)) as session,
    ):
        for thread in "ab":
            APP.invoke(Post(), session.config(thread))
        APP.invoke(Post(), session.config("c", cache_s=60))
    (path, headers, body), *more = receiver.requests
    assert (path, headers["x-key"], more) == ("/v1/metrics", "k", [])
    assert {name.lower(): value for name, value in headers.items()}[
        "content-type"
    ] == "application/x-protobuf"
    (of,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    told = {pair.key: pair.value.string_value for pair in of.resource.attributes}
    assert told["service.name"] == "stepgraph"
    assert told["service.instance.id"]
    (metrics,) = receiver.metrics

    asked = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "_OTHER",
        "gen_ai.request.model": "served",
        "gen_ai.response.model": "served-2026",
    }
    assert metrics[TOKENS].unit == "{token}"
    by_type = {attributes(point).pop("gen_ai.token.type"): point for point in points(metrics, TOKENS)}
    assert by_type.keys() == {"input", "output"}
    assert attributes(by_type["input"]) == {**asked, "gen_ai.token.type": "input"}
    assert by_type["input"].sum == 5100
    assert by_type["input"].count == 2
    assert list(by_type["input"].explicit_bounds) == [4**n for n in range(14)]
    assert dict(zip(by_type["input"].explicit_bounds, by_type["input"].bucket_counts, strict=False)) == {
        **dict.fromkeys((4**n for n in range(14)), 0),
        256: 1,
        16384: 1,
    }
    for name in (SECONDS, f"{NEWER}duration"):
        (took,) = points(metrics, name)
        assert (metrics[name].unit, took.count, attributes(took)) == ("s", 2, asked)
        assert list(took.explicit_bounds) == [0.01 * 2**n for n in range(14)]
        assert 0 < took.sum < 60
    used = {
        name.removeprefix(f"{NEWER}usage."): points(metrics, name)[0].as_int
        for name in metrics
        if name.startswith(f"{NEWER}usage.")
    }
    assert used["cache_read.input_tokens"] == 40
    assert used["input_tokens"] == 5100


def test_each_call_is_counted_once_and_failures_by_their_class(
    server: ChatServer, receiver: Receiver, tmp_path: Path
) -> None:
    server.will(Fault(status=503, headers={"Retry-After": "0"}), Answer("fine"))
    with (
        using(server.spec(retries=1)),
        Session(tmp_path / "runs.sqlite", tracing=tracing(receiver)) as session,
    ):
        APP.invoke(Post(), session.config("t"))
        APP.invoke(None, session.config("t"))  # has nothing to do any more
        (failed,) = session.journal.query("SELECT problem FROM calls WHERE status = 'failed'")
    took = {
        attributes(point).get("error.type"): point.count for point in points(receiver.metrics[-1], SECONDS)
    }
    assert took == {None: 1, failed["problem"].partition(":")[0]: 1}
    assert sum(point.count for point in points(receiver.metrics[-1], TOKENS)) == 2


@pytest.mark.parametrize("temporality", ["delta", "cumulative"])
def test_what_did_not_arrive_is_sent_later_and_counted_once(
    temporality: Temporality, server: ChatServer, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.status = 503
    to = tracing(receiver, temporality, interval_s=0.02)
    with using(server.spec()), Session(tmp_path / "runs.sqlite", tracing=to) as session:
        APP.invoke(Post(), session.config("a"))
        until(lambda: "503" in str(to.problems))
        for thread in "bc":
            APP.invoke(Post(), session.config(thread))
        receiver.status = 200
    assert to.problems == {}
    arrived = [points(metrics, SECONDS)[0].count for metrics in receiver.metrics if SECONDS in metrics]
    assert (sum(arrived) if temporality == "delta" else arrived[-1]) == 3


@pytest.mark.parametrize("status", [400, 413])
def test_what_is_refused_for_good_is_told_and_not_sent_again(
    status: int, server: ChatServer, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.status = status
    to = tracing(receiver, "delta", interval_s=0.02)
    with using(server.spec()), Session(tmp_path / "runs.sqlite", tracing=to) as session:
        APP.invoke(Post(), session.config("a"))
        until(lambda: str(status) in str(to.problems))
        receiver.status = 200
    assert [points(metrics, SECONDS) for metrics in receiver.metrics if SECONDS in metrics] == []


def test_one_that_hangs_or_is_not_there_holds_nobody_up(
    server: ChatServer, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.hold.clear()
    nobody = tracing(receiver, url=f"{unused_url().removesuffix('/v1')}/v1/metrics")
    for name, to in (("nobody", nobody), ("hangs", tracing(receiver))):
        with using(server.spec()), Session(tmp_path / f"{name}.sqlite", tracing=to) as session:
            assert APP.invoke(Post(), session.config("a"))["draft"] == "ok"
            monkeypatch.setattr(live, "CLOSE_S", 60.0 if name == "nobody" else 0.05)
            monkeypatch.setattr(live, "ANSWER_S", 60.0 if name == "nobody" else 0.1)
    until(lambda: "cannot be reached" in str(nobody.problems))
    assert receiver.requests == []


def test_without_the_package_calls_go_on_and_it_is_told(
    server: ChatServer, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.metric_exporter", None)
    to = tracing(receiver)
    with using(server.spec()), Session(tmp_path / "runs.sqlite", tracing=to) as session:
        assert APP.invoke(Post(), session.config("a"))["draft"] == "ok"
    assert "stepgraph[otel]" in to.problems["metrics"]


def test_the_users_own_meter_provider_is_left_alone(
    server: ChatServer, receiver: Receiver, tmp_path: Path
) -> None:
    from opentelemetry import metrics

    before = metrics.get_meter_provider()
    with using(server.spec()), Session(tmp_path / "runs.sqlite", tracing=tracing(receiver)) as session:
        APP.invoke(Post(), session.config("a"))
    assert metrics.get_meter_provider() is before


@pytest.fixture
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("OTEL_", "LANGFUSE_"))]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("_no_variables")
@pytest.mark.parametrize(
    ("variables", "url", "temporality"),
    [
        ({}, None, None),
        ({"ENDPOINT": "http://h:4318"}, None, None),
        ({"TRACES_ENDPOINT": "http://h:4318/v1/traces"}, None, None),
        ({"ENDPOINT": "http://h/", "OTEL_METRICS_EXPORTER": "otlp"}, "http://h/v1/metrics", "cumulative"),
        ({"METRICS_ENDPOINT": "http://h/m"}, "http://h/m", "cumulative"),
        ({"METRICS_ENDPOINT": "http://h", "METRICS_TEMPORALITY_PREFERENCE": "delta"}, "http://h", "delta"),
        ({"METRICS_ENDPOINT": "http://h/m", "OTEL_METRICS_EXPORTER": "none"}, None, None),
        ({"METRICS_ENDPOINT": "http://h/m", "OTEL_SDK_DISABLED": "true"}, None, None),
        ({"METRICS_ENDPOINT": "http://h:4317", "PROTOCOL": "grpc"}, None, None),
        ({"METRICS_ENDPOINT": "h:4317"}, None, None),
    ],
)  # fmt: skip
def test_metrics_are_off_unless_asked(
    variables: dict[str, str],
    url: str | None,
    temporality: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name if name.startswith("OTEL_") else f"OTEL_EXPORTER_OTLP_{name}", value)
    found = [(to.url, to.temporality) for to in read_settings(tmp_path).metrics]
    assert found == ([] if url is None else [(url, temporality)])


@pytest.mark.usefixtures("_no_variables")
def test_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "k-of-datadog")
    (tmp_path / "stepgraph.toml").write_text(
        """
        [tracing]
        service = "desk"
        [[tracing.metrics]]
        url = "https://otlp.example.com/v1/metrics"
        headers_env = { dd-api-key = "MY_KEY" }
        temporality = "delta"
        interval_s = 10
        """
    )
    settings = read_settings(tmp_path)
    (found,) = settings.metrics
    assert settings.destinations == ()
    assert (found.url, found.temporality, found.interval_s) == (
        "https://otlp.example.com/v1/metrics",
        "delta",
        10,
    )
    assert (found.service, found.headers) == ("desk", {"dd-api-key": "k-of-datadog"})
    assert "k-of-datadog" not in repr(settings)
