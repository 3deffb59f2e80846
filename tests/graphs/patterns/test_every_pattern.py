"""What every pattern tells of itself before it runs: its name, what it costs, answers with and writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import pytest
from langgraph.graph import END

from stepgraph import (
    Ask,
    Budget,
    Tally,
    Workflow,
    attempt,
    cascade,
    chain,
    estimate,
    fan_out,
    gate,
    guard,
    map_reduce,
    orchestrate,
    refine,
    review,
    route,
    section,
    step,
    verify,
    vote,
    within,
)
from stepgraph.graphs.engine.deciding import answer_of

Kind = Literal["howto", "opinion"]


@dataclass
class Post:
    draft: str = ""
    kind: Kind | None = None
    grade: int = 0
    seen: str = ""
    parts: list[Post] = field(default_factory=list)
    tally: Tally | None = None
    others: list[Post] = field(default_factory=list)
    whole: Post | None = None
    gaps: dict[str, str] = field(default_factory=dict)


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask("Write")


@step("kind")
def sort_out(post: Post) -> Ask[Kind | None]:
    return Ask("Which kind?")


@step("grade", model="judge")
def judge(post: Post) -> Ask[int]:
    return Ask("Grade")


@step("parts")
def plan(post: Post) -> Ask[list[Post]]:
    return Ask("Parts?")


@step("seen")
def look(post: Post) -> Ask[str]:
    return Ask("Look")


def cut(post: Post) -> list[Post]:
    return [post]


@step("others")
def add_parts(post: Post) -> Ask[list[Post]]:
    return Ask("More?")


def join(posts: list[Post]) -> Post:
    return posts[0]


def keep(post: Post) -> dict[str, str]:
    return {"seen": post.draft}


def good(post: Post) -> bool:
    return True


def is_good(grade: int) -> bool:
    return grade > 3


def checked_by_a_person(**options: Any) -> Workflow[Any]:
    @review("draft", deadline=timedelta(hours=1), otherwise=look)
    def ask(post: Post) -> str:
        return "Good?"

    return chain(ask, **options) if options else ask


@dataclass(frozen=True)
class Told:
    """`calls` are the fewest and the most; `writes` are the fields, None where nobody can know."""

    build: Callable[..., Workflow[Any]]
    name: str
    calls: tuple[float, float]
    answer: str | None
    writes: set[str] | None = None


branches = {"a": write, "b": judge}
PATTERNS: Mapping[str, Told] = {
    "chain": Told(lambda **o: chain(write, judge, **o), "chain_write", (2, 2), "grade", {"draft", "grade"}),
    "chain with a gate at its end": Told(
        lambda **o: chain(write, gate(good), **o), "chain_write", (1, 1), "draft", {"draft"}
    ),
    "chain that may end": Told(
        lambda **o: chain(write, gate(judge, is_good, otherwise=chain(look)), plan, **o),
        "chain_write",
        (3, 4),
        "parts",
        {"draft", "grade", "seen", "parts"},
    ),
    "gate": Told(
        lambda **o: gate(judge, is_good, otherwise=look, **o), "gate_judge", (1, 2), None, {"grade", "seen"}
    ),
    "gate that repairs": Told(
        lambda **o: gate(judge, is_good, repair=write, tries=3, **o),
        "gate_judge",
        (1, 7),
        "draft",
        {"draft", "grade"},
    ),
    "gate by a pattern": Told(
        lambda **o: gate(chain(judge), is_good, **o), "gate_chain_judge", (1, 1), "grade", {"grade"}
    ),
    "route": Told(
        lambda **o: route(sort_out, {"howto": write, "opinion": chain(look, write)}, **o),
        "route_sort_out",
        (2, 3),
        "draft",
        {"kind", "draft", "seen"},
    ),
    "route by a pattern": Told(
        lambda **o: route(chain(sort_out), {"howto": write}, fallback=look, **o),
        "route_chain_sort_out",
        (2, 2),
        None,
        {"kind", "draft", "seen"},
    ),
    "cascade": Told(
        lambda **o: cascade(write, write.on("large"), accept=bool, **o),
        "cascade_write",
        (1, 2),
        "draft",
        {"draft"},
    ),
    "cascade with a check": Told(
        lambda **o: cascade(write, write.on("large"), check=judge, accept=is_good, **o),
        "cascade_write",
        (2, 3),
        "draft",
        {"draft", "grade"},
    ),
    "cascade of unlike parts": Told(
        lambda **o: cascade(write, look, check=judge, accept=is_good, **o),
        "cascade_write",
        (2, 3),
        None,
        {"draft", "grade", "seen"},
    ),
    "vote": Told(lambda **o: vote(sort_out, 5, needed=4, **o), "vote_kind", (4, 5), "kind", {"kind"}),
    "vote of several": Told(
        lambda **o: vote([sort_out, sort_out.on("large")], 2, tally="tally", **o),
        "vote_kind",
        (0, 4),
        "kind",
        {"kind", "tally"},
    ),
    "fan-out": Told(
        lambda **o: fan_out(plan, write, into="parts", max_items=9, missing="gaps", **o),
        "fan_out_write",
        (1, 10),
        "parts",
        {"parts", "gaps"},
    ),
    "shared fan-out": Told(
        lambda **o: fan_out(cut, write, into="parts", max_items=9, spread=2, **o),
        "fan_out_write",
        (0, 9),
        "parts",
        {"parts"},
    ),
    "map-reduce": Told(
        lambda **o: map_reduce(
            cut, write, join=join, into="whole", tokens=99, parts="parts", missing="gaps", max_items=9, **o
        ),
        "map_reduce_write",
        (1, 17),
        "whole",
        {"whole", "parts", "gaps"},
    ),
    "shared map-reduce": Told(
        lambda **o: map_reduce(cut, write, join=join, into="whole", tokens=99, max_items=9, spread=2, **o),
        "map_reduce_write",
        (1, 17),
        "whole",
        {"whole"},
    ),
    "refine": Told(
        lambda **o: refine(write, judge, until=is_good, rounds=3, **o),
        "refine_write",
        (2, 6),
        "draft",
        {"draft", "grade"},
    ),
    "refine by a pattern": Told(
        lambda **o: refine(write, chain(judge), until=is_good, rounds=3, **o),
        "refine_write",
        (2, 6),
        "draft",
        {"draft", "grade"},
    ),
    "guard": Told(
        lambda **o: guard(write, judge, is_good, **o), "guard_write", (2, 2), "draft", {"draft", "grade"}
    ),
    "guard that goes elsewhere": Told(
        lambda **o: guard(write, chain(judge), is_good, otherwise=look, **o),
        "guard_write",
        (2, 3),
        "draft",
        {"draft", "grade", "seen"},
    ),
    "section": Told(lambda **o: section(branches, **o), "section_a", (2, 2), None, {"draft", "grade"}),
    "section that merges": Told(
        lambda **o: section(branches, merge=look, missing="gaps", **o),
        "section_a",
        (3, 3),
        "seen",
        {"draft", "grade", "seen", "gaps"},
    ),
    "verify": Told(
        lambda **o: verify(write, judge, agrees=is_good, **o),
        "verify_write",
        (2, 2),
        "draft",
        {"draft", "grade"},
    ),
    "verify by a pattern": Told(
        lambda **o: verify(write, chain(judge), agrees=is_good, tries=2, otherwise=look, **o),
        "verify_write",
        (2, 7),
        "draft",
        {"draft", "grade", "seen"},
    ),
    "verify by a pattern, once": Told(
        lambda **o: verify(write, chain(judge), agrees=is_good, **o),
        "verify_write",
        (2, 2),
        "draft",
        {"draft", "grade"},
    ),
    "within": Told(
        lambda **o: within(write, Budget(calls=5), **o), "within_write", (1, 1), "draft", {"draft"}
    ),
    "attempt": Told(
        lambda **o: attempt(chain(look, write), otherwise=write, reason="seen", **o),
        "attempt_chain_look",
        (1, 3),
        "draft",
        {"draft", "seen"},
    ),
    "attempt with an update": Told(
        lambda **o: attempt(chain(look, write), otherwise={"grade": 1}, **o),
        "attempt_chain_look",
        (0, 2),
        "draft",
        {"draft", "seen", "grade"},
    ),
    "review": Told(checked_by_a_person, "review_ask", (0, 1), None, {"draft", "seen"}),
    "orchestrate": Told(
        lambda **o: orchestrate(plan, write, look, into="parts", max_items=4, missing="gaps", **o),
        "orchestrate_write",
        (3, 3 + 4 + 1),
        "seen",
        {"parts", "seen", "gaps"},
    ),
    "orchestrate by a pattern": Told(
        lambda **o: orchestrate(chain(plan), write, look, into="parts", max_items=4, **o),
        "orchestrate_write",
        (3, 1 + 4 + 1),
        "seen",
        {"parts", "seen"},
    ),
    "orchestrate by default": Told(
        lambda **o: orchestrate(plan, write, look, into="parts", more=cut, **o),
        "orchestrate_write",
        (3, (3 + 8 + 1) + (8 + 1)),
        "seen",
        {"parts", "seen"},
    ),
    "orchestrate in one round": Told(
        lambda **o: orchestrate(plan, write, look, into="parts", max_items=4, more=add_parts, rounds=1, **o),
        "orchestrate_write",
        (3, 3 + 4 + 1),
        "seen",
        {"parts", "seen"},
    ),
    "orchestrate in rounds": Told(
        lambda **o: orchestrate(plan, write, look, into="parts", max_items=4, more=plan, rounds=3, **o),
        "orchestrate_write",
        (3, 3 * (3 + 4 + 1)),
        "seen",
        {"parts", "seen"},
    ),
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_it_tells(pattern: str) -> None:
    told = PATTERNS[pattern]
    graph = told.build()
    cost = estimate(graph)
    assert (cost.least_calls, cost.most_calls) == told.calls
    assert answer_of(graph) == told.answer
    assert graph.writes_all == told.writes
    assert graph.compile().get_name() == told.name
    assert told.build(name="mine").compile().get_name() == "mine"


@pytest.mark.parametrize("pattern", PATTERNS)
def test_it_says_of_each_node_where_the_run_goes_on(pattern: str) -> None:
    """What stands behind a node is in the thread's record, which tells when that has changed."""
    graph = PATTERNS[pattern].build()
    sources = {source for source, _ in graph.edges} | set(graph.branches)
    sources |= {source for joined, _ in graph.waiting_edges for source in joined}
    assert set(graph.nodes) <= sources
    ends = {target for _, target in graph.edges}
    ends |= {
        end for each in graph.branches.values() for way in each.values() for end in (way.ends or {}).values()
    }
    assert END in ends
