"""Every pattern killed in each of its calls, and resumed by another process: one trace, no cent too much."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Wire

from stepgraph import Session
from stepgraph.tracing.export.outbox import push
from stepgraph.tracing.record.read_spans import read_spans

from ..committed import until_the_dead_are_known
from ..patterns.cases import CASES
from ..patterns.living import label
from ..patterns.test_matrix import Told, is_still, until
from ..servers import Answer, ChatServer
from .receivers import Receiver, attributes, cost_of
from .test_patterns import PRICE, check

ROOT = Path(__file__).parents[2]
LIVE = """
import asyncio, json, sys
from stepgraph import Session, using
from stepgraph.tracing.export.live import Tracing
from stepgraph.tracing.export.settings import TracingSettings, langfuse
from tests.patterns.living import label, live, threads

async def main(url, file, receiver, price, on):
    served = {"model": "m", "base_url": url, "retries": 0, "max_concurrency": 500, "price": json.loads(price)}
    tracing = Tracing(TracingSettings(destinations=(langfuse("pk-lf-test", "sk-lf-test", receiver),)))
    async with Session(file, tracing=tracing) as session:
        with using(served):
            await asyncio.gather(*(live(session, name, label(name, n), on=on) for name, n in threads()))

asyncio.run(main(*sys.argv[1:5], "on" in sys.argv[5:]))
"""


class Counting(Told):
    """Charges each thread for the answers that it was given before the kill, and after it."""

    def __init__(self, server: ChatServer) -> None:
        super().__init__(server)
        self.charged: defaultdict[str, int] = defaultdict(int)

    def _decide(self) -> Answer:
        answer = super()._decide()
        if answer.delay_s:
            return answer
        prompt = next(str(m["content"]) for m in self._server.bodies[-1]["messages"] if m["role"] == "user")
        number = self._server.calls
        self.charged[prompt.split()[1]] += 100 * 2 + number * 1 + 7 * number * 5
        return replace(answer, input_tokens=100 + number, output_tokens=7 * number, cached=number)


Killed = tuple[Counting, dict[str, list[Wire]], Path]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    folder = tmp_path_factory.mktemp("killed")
    file = folder / "runs.sqlite"
    with ChatServer() as server, Receiver() as receiver:
        told = Counting(server)
        command = [sys.executable, "-c", LIVE, server.url, str(file), receiver.url, json.dumps(PRICE)]
        with subprocess.Popen(command, cwd=ROOT) as process:
            until(lambda: is_still(told, file), process)
            process.kill()
        told.holding = False
        until_the_dead_are_known(file)
        done = subprocess.run(
            [*command, "on"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        with Session(file) as session:
            push(session, [receiver.langfuse()])
        sent: dict[str, list[Wire]] = defaultdict(list)
        for span in receiver.spans:
            sent[attributes(span)["session.id"]].append(span)
    return told, sent, file


@pytest.mark.xdist_group("killed")
@pytest.mark.parametrize("name", CASES)
def test_killed_and_resumed(name: str, killed: Killed) -> None:
    told, sent, file = killed
    with Session(file) as session:
        for number in range(1, CASES[name].calls() + 1):
            thread = label(name, number)
            # What a kill leaves unsaid is sent again, as it then is, under the same id.
            last = {span.span_id: span for span in sent[thread]}
            spans, cost = check(session, thread, list(last.values()))
            assert cost == told.charged[thread] > 0, thread
            assert sum(map(cost_of, last.values())) == cost
            roots = [span for span in spans if span.kind == "run"]
            assert roots[-1].status == roots[0].status == "done", "the root says how the whole ended"
            recorded = [s.status for s in read_spans(session.journal.query, thread) if s.kind == "run"]
            assert "unfinished" in recorded[:-1]
            assert {root.parent_id for root in roots[1:]} == {roots[0].id}
