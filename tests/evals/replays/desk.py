"""The support desk's runs through a desk with another prompt, at a server that counts what it is asked.

    python -m tests.evals.replays.desk [RUNS]

The examples that the draft of billing tickets is shown are changed, and with them the model writes better
replies there. Recorded runs go through the changed desk; then both desks run anew, with fresh chance, and the
two answers to "what does the change do?" are compared.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from stepgraph import Session, using
from stepgraph.evals.replays.replay import ReplayReport, replay
from stepgraph.evals.scoring.evaluators import Code
from stepgraph.evals.statistics.compare import differences
from stepgraph.graphs.ready.support_desk import graph as desk
from stepgraph.runners.run import resume, run
from tests.servers import Answer, ChatServer

TICKETS = Path(__file__).parents[3] / "examples" / "tickets.jsonl"
BEFORE, AFTER = "Order SG-1001 (2 x Gram", "Order SG-1001 (two Gram"  # one example of the billing prompt
QUALITY = {"old": 0.3, "new": 0.85}  # how often a billing draft tells every fact
DECISIONS = {"decision": "approve", "by": "ada"}


def changed_desk() -> ModuleType:
    """Return the desk's module with another prompt for billing tickets."""
    source = Path(str(desk.__file__)).read_text(encoding="utf-8")
    assert source.count(BEFORE) == 1
    name = "stepgraph.graphs.ready.support_desk.graph_changed"
    spec = importlib.util.spec_from_loader(name, loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__package__ = "stepgraph.graphs.ready.support_desk"
    module.__file__ = "graph_changed.py"
    sys.modules[name] = module
    exec(compile(source.replace(BEFORE, AFTER), "graph_changed.py", "exec"), vars(module))
    return module


class DeskServer(ChatServer):
    """Answers a draft with the facts, or, by chance, with one left out."""

    def __init__(self) -> None:
        super().__init__()
        self.salt = "recorded"
        self.decide = self._answer
        self._asked: Counter[str] = Counter()

    def _answer(self) -> Answer:
        messages = self.bodies[-1]["messages"]
        text = json.dumps(messages)
        self._asked[text] += 1
        chance = random.Random(f"{self.salt} {self._asked[text]} {hashlib.sha256(text.encode()).hexdigest()}")
        facts = str(messages[-1]["content"]).removeprefix("Facts: ")
        quality = 0.9
        if "SG-1001" in text:
            quality = QUALITY["new" if AFTER in text else "old"]
        if chance.random() > quality:
            facts = facts.partition(". ")[0] + "."
        return Answer(f"Thank you for your message. {facts}")

    @property
    def topics(self) -> Counter[str]:
        """How often the changed prompt was asked, and the others."""
        return Counter("changed" if AFTER in json.dumps(body) else "same" for body in self.bodies)


def tickets(number: int) -> list[dict[str, str]]:
    """Return so many tickets: those of the example, but for the empty one, each with its own number."""
    rows = [json.loads(line) for line in TICKETS.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["body"]]
    return [
        {"ticket": f"{rows[n % len(rows)]['ticket']}-{n}", "body": f"{rows[n % len(rows)]['body']} ({n})"}
        for n in range(number)
    ]


def run_all(module: ModuleType, session: Session, number: int, prefix: str) -> dict[str, float]:
    """Run all tickets, with a colleague who approves, and return which replies could be released."""
    compiled = module.graph.compile()
    released = {}
    for place, ticket in enumerate(tickets(number)):
        result: Any = run(compiled, ticket, session, f"{prefix}-{place:03}")
        while result.waiting:
            result = resume(compiled, session, result.thread_id, answer=DECISIONS)
        released[str(place)] = good(result.values)
    return released


def good(values: dict[str, Any]) -> float:
    """Return 1 for a reply with no problem, in the round in which it was last drafted."""
    return float(not values.get("problems"))


@dataclass(frozen=True)
class Outcome:
    """What was counted, and what both ways say."""

    report: ReplayReport
    effects: int
    asked: Counter[str]
    expected: int
    anew: Any

    @property
    def change(self) -> Any:
        found = self.report.comparison.of("good")
        assert found is not None
        return found


def campaign(number: int, folder: Path, *, anew: bool = True) -> Outcome:
    """Record, replay, and run both anew."""
    os.environ["STEPGRAPH_OUTBOX"] = str(folder / "outbox")
    changed = changed_desk()
    evaluator = Code(name="good", function=good)
    with (
        DeskServer() as server,
        Session(folder / "runs.sqlite") as session,
        using(server.spec(price=PRICE)),
    ):
        run_all(desk, session, number, "recorded")
        before = _effects(session, folder)
        server.bodies.clear()
        server.salt = "replayed"
        report = replay(changed.graph.compile(), session, "graph=support-desk", evaluators=[evaluator])
        asked, effects = server.topics, _effects(session, folder) - before
        drafts = "SELECT count(*) AS n FROM calls WHERE source = 'model' AND thread_id LIKE 'replay/%'"
        expected = int(session.journal.query(drafts)[0]["n"])
        server.salt = "anew"
        both = [("a", desk), ("b", changed)] if anew else []
        rows = [run_all(module, session, number, name) for name, module in both]
    pairs = {place: (rows[0][place], rows[1][place]) for place in rows[0]} if rows else {}
    found = next(iter(differences({"good": pairs}, 0.05))) if pairs else None
    return Outcome(report, effects, asked, expected, found)


PRICE = {"input": 1.0, "output": 4.0}


def _effects(session: Session, folder: Path) -> int:
    session.journal.flush()
    kept = int(session.journal.query("SELECT count(*) AS n FROM effects")[0]["n"])
    return kept + len(list((folder / "outbox").glob("*.txt")))


def main(number: int) -> None:
    """Print what was counted."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = campaign(number, Path(folder))
    report, change, anew = outcome.report, outcome.change, outcome.anew
    ran = [case for case in report.cases if case.ran]
    statuses = dict(Counter(case.replayed.status for case in ran))
    print(f"runs replayed: {len(ran)} of {len(report.cases)}: {statuses}")
    print(f"effects: {outcome.effects}")
    print(f"asked at the server: {dict(outcome.asked)}; paid on record: {report.paid.calls}")
    print(f"departures: {report.departures}")
    print(f"replay: {change.change:+.3f} {change.interval} {change.verdict}, p = {change.p:.2g}")
    print(f"both anew: {anew.change:+.3f} {anew.interval} {anew.verdict}, p = {anew.p:.2g}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
