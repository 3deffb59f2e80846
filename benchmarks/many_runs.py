"""The local page over a record of many runs: the list, each filter, the search and the charts.

    python -m benchmarks.many_runs --runs 100000 --db /tmp/many.sqlite

The record is made if the file is not there (a minute and 2 GB for 100,000 runs), and left there, so that
`stepgraph ui --db /tmp/many.sqlite` shows it. Figures are CPU seconds of this process, the making of the HTML
included. A search ends after a second by the clock: on a busy machine it looks at fewer runs.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stepgraph import Session
from stepgraph.state.masking import EVERYTHING
from stepgraph.ui.pages import Pages
from stepgraph.ui.queries import Query
from stepgraph.ui.records import Reader

GRAPHS = ("support-desk", "code-review", "research", "blog")
STEPS = ("plan", "draft", "check")
WORDS = (
    "refund order parcel invoice late broken customer please answer policy account week return label price "
    "warehouse courier address promise reply polite short reason evidence source claim"
).split()
STATUSES = ("done",) * 88 + ("failed",) * 6 + ("interrupted",) * 3 + ("partial",) * 3
DAY = 86_400.0
PAGES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("the list", "/", {}),
    ("filter: status", "/", {"status": "failed"}),
    ("filter: user", "/", {"user": "user-17"}),
    ("filter: tag", "/", {"tag": "beta"}),
    ("filter: graph", "/", {"graph": "research"}),
    ("filter: graph that ran", "/", {"graph": "blog"}),
    ("filter: days", "/", {"since": "2026-03-01", "until": "2026-03-07"}),
    (
        "filter: all of them",
        "/",
        {"status": "failed", "user": "user-17", "graph": "blog", "since": "2026-01-01"},
    ),
    ("filter: dearer than", "/", {"min_cost": "0.02"}),
    ("filter: ran longer than", "/", {"min_seconds": "9"}),
    ("order: costliest", "/", {"order": "costliest"}),
    ("order: longest", "/", {"order": "longest"}),
    ("search: in 1 of 100 runs", "/", {"q": "needle-7"}),
    ("search: in no run", "/", {"q": "no such words"}),
    ("charts", "/charts", {}),
    ("charts of one graph", "/charts", {"graph": "research"}),
)


def rows(runs: int) -> Iterator[list[tuple[str, tuple[Any, ...]]]]:
    """Yield the statements for each run."""
    dice = random.Random(7)
    now = 1_772_700_000.0  # 2026-03-05
    filler = [" ".join(dice.choices(WORDS, k=200)) for _ in range(500)]
    shape = json.dumps({"shape": {"nodes": dict.fromkeys(STEPS)}, "fields": "x" * 1500})
    for number in range(runs):
        began = now - (runs - number) / runs * 60 * DAY
        thread, graph = f"run-{number:06}", GRAPHS[number % len(GRAPHS)]
        status = dice.choice(STATUSES)
        error = (
            f"EndpointError: the endpoint answered {dice.choice((429, 500, 503))}"
            if status == "failed"
            else None
        )
        loaded = None if graph == "blog" else graph
        topic = filler[number % 500][:300]
        yield [*_run(thread, loaded, graph, status, error, topic, shape, began, number, dice, filler)]


def _run(
    thread: str,
    loaded: str | None,
    graph: str,
    status: str,
    error: str | None,
    topic: str,
    shape: str,
    began: float,
    number: int,
    dice: random.Random,
    filler: list[str],
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    at = began
    answer = ""
    for place, step in enumerate(STEPS):
        took = dice.expovariate(0.5) + 0.2
        text = dice.choice(filler)
        answer = dice.choice(filler)[:600]
        if number % 100 == 7 and place == 1:
            answer += f" needle-{number % 1000 // 100}"
        messages = json.dumps(
            [{"role": "system", "content": text[:400]}, {"role": "user", "content": text[:1000]}]
        )
        input_tokens, output_tokens = 200 + dice.randrange(600), 50 + dice.randrange(300)
        picos = input_tokens * 3_000_000 + output_tokens * 15_000_000
        failed = status == "failed" and place == 2
        yield (
            "INSERT INTO calls (id, thread_id, task, path, step, role, request_hash, occurrence, attempt, "
            "status, model_asked, messages, params, answer, input_tokens, output_tokens, cost_usd, "
            "cost_picos, latency_s, problem, started_at) VALUES (?, ?, ?, ?, ?, 'default', ?, 0, 1, ?, "
            "'openai/gpt', ?, '{}', ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                f"{thread}-{place}",
                thread,
                f"{step}:{thread}",
                step,
                step,
                f"{thread}{place}",
                "failed" if failed else "answered",
                messages,
                None if failed else answer,
                None if failed else input_tokens,
                None if failed else output_tokens,
                None if failed else picos / 1e12,
                None if failed else picos,
                took,
                error if failed else None,
                at,
            ),
        )
        yield (
            "INSERT INTO node_runs (thread_id, task, path, node, superstep, status, input, output, error, "
            "started_at, ended_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                thread,
                f"{step}:{thread}",
                step,
                step,
                place + 1,
                "failed" if failed else "done",
                json.dumps({"topic": topic, "draft": ""}),
                None if failed else json.dumps({"draft": answer}),
                error if failed else None,
                at,
                at + took,
            ),
        )
        at += took + 0.01
    yield (
        'INSERT INTO invocations (thread_id, trace, graph, input, output, status, error, "user", tags, '
        "metadata, started_at, ended_at) VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, '{}', ?, ?)",
        (
            thread,
            graph,
            json.dumps({"topic": topic}),
            None if error else json.dumps({"topic": topic, "draft": answer, "ok": True}),
            status,
            error,
            f"user-{dice.randrange(500)}",
            json.dumps(["beta"] if number % 10 == 0 else ["eu"] if number % 3 == 0 else []),
            began,
            at,
        ),
    )
    yield (
        "INSERT INTO runs (thread_id, graph, models, input, status, error, fingerprint, started_at, "
        "updated_at) VALUES (?, ?, '{}', ?, ?, ?, ?, ?, ?)",
        (thread, loaded, json.dumps({"topic": topic}), status, error, shape, began, at),
    )


def fill(session: Session, runs: int, at_once: int = 500) -> None:
    """Write the runs."""
    batch: list[tuple[str, tuple[Any, ...]]] = []
    for number, statements in enumerate(rows(runs), 1):
        batch += statements
        if number % at_once == 0 or number == runs:
            session.journal.write(batch)
            batch = []


def measured(pages: Pages, path: str, query: dict[str, str]) -> tuple[float, float, int]:
    """Return the CPU seconds of the first time and of the best of three, and the size of the page."""
    took = []
    body: str | bytes = ""
    for _ in range(4):
        began = time.process_time()
        page = pages.answer(path, Query(list(query.items())))
        took.append(time.process_time() - began)
        if page.status != 200:
            raise SystemExit(f"{path} {query}: {page.status} {str(page.body)[:2000]}")
        body = page.body
    return took[0], min(took[1:]), len(body)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--runs", type=int, default=100_000)
    arguments.add_argument(
        "--db", default="/tmp/many-runs.sqlite", help="a file, or the address of a Postgres"
    )
    options = arguments.parse_args()
    is_file = "://" not in options.db
    new = not is_file or not Path(options.db).exists()
    with Session(options.db) as session:
        if new:
            fill(session, options.runs)
        pages = Pages(Reader(session), EVERYTHING)
        print(f"{'page':<28} {'first':>8} {'then':>8} {'bytes':>9}")
        for name, path, query in PAGES:
            first, then, size = measured(pages, path, query)
            print(f"{name:<28} {first:8.3f} {then:8.3f} {size:9}")


if __name__ == "__main__":
    main()
