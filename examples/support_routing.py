"""How well the support desk routes the 20 example tickets: a confusion table, without a model.

A ticket that the guard stops counts as stopped, whatever way it was about to take. The phrases that the
classifiers compare with and these tickets have the same author, so the figure says that the desk works
as designed, not how it would do on other people's tickets.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from stepgraph import ScriptedModel, Session, StepgraphError, using
from stepgraph.evals import Confusion, confusion
from stepgraph.graphs.ready.support_desk.graph import Ticket, graph
from stepgraph.state.schema import parse_input

HERE = Path(__file__).parent


def taken_routes(database: Path) -> dict[str, str]:
    """Run every ticket with a model that writes nothing of use, and return the routes on record."""
    os.environ.setdefault("STEPGRAPH_OUTBOX", str(database.with_name("outbox")))
    app = graph.compile()
    routes = {}
    with ScriptedModel(lambda *_: "-") as model, using(model), Session(database) as session:
        for line in (HERE / "tickets.jsonl").read_text(encoding="utf-8").splitlines():
            data = json.loads(line)
            name = data["ticket"]
            try:
                ticket: Ticket = parse_input(Ticket, data)
            except StepgraphError:
                routes[name] = "refused"
                continue
            config = session.config(name)
            app.invoke(ticket, config)
            decisions = session.journal.query(
                "SELECT kind, choice FROM decisions WHERE thread_id = ? ORDER BY id", (name,)
            )
            choices = {decision["kind"]: decision["choice"] for decision in reversed(decisions)}
            routes[name] = "stopped" if choices["guard"] == "tripped" else choices["route"]
    return routes


def main(database: Path) -> Confusion:
    expected = json.loads((HERE / "tickets.routes.json").read_text(encoding="utf-8"))
    actual = taken_routes(database)
    table = confusion((route, actual[name]) for name, route in expected.items())
    print(table)
    for name, route in expected.items():
        if actual[name] != route:
            print(f"{name}: expected {route}, took {actual[name]}")
    return table


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder) / "routes.sqlite")
