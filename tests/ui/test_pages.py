"""The pages over HTTP: what stands on them, and that hostile texts stay texts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from langgraph.types import Command, interrupt

from stepgraph import Ask, Budget, ScriptedModel, Session, step, using
from stepgraph.graphs.patterns.chain import chain
from stepgraph.providers.model import CallContext, Reply, Request
from stepgraph.providers.prices import Price
from stepgraph.tracing.export.scores import score
from stepgraph.tracing.record.text import money
from stepgraph.ui.pages import file_name
from stepgraph.ui.records import Reader

from ..servers import ChatServer, Fault
from .conftest import Served
from .runs import EVIL, HUGE, Post, run_blog, run_hostile


def links(page: str, path: str) -> list[str]:
    found = re.findall(rf'href="({re.escape(path)}[^"]*)"', page)
    return [link.replace("&amp;", "&") for link in found]


def test_the_list_shows_runs_with_their_costs(served: Served, server: ChatServer) -> None:
    @step("outline")
    def ask(post: Post) -> Ask[str]:
        return Ask(post.topic)

    app = chain(ask, name="asks").compile()
    with using(server.spec(price={"input": 3, "output": 15})):
        app.invoke(Post(), served.session.config("priced"))
    with using(server.spec()):
        app.invoke(Post(), served.session.config("unpriced"))
    page = served.get("/").text
    assert page.index("unpriced") < page.index(">priced")
    assert "$0.000600" in page
    assert "cost unknown" in page
    assert "2 runs" in page


def test_a_cost_that_is_estimated_is_said_to_be(served: Served) -> None:
    @step("outline")
    def ask(post: Post) -> Ask[str]:
        return Ask(post.topic)

    class Silent:
        name, price = "silent", Price(input=3, output=15)

        async def complete(self, request: Request, context: CallContext) -> Reply:
            return Reply("said", "silent")

    with using(Silent()):
        chain(ask).compile().invoke(Post(), served.session.config("one", budget=Budget(usd=1)))
    spent = served.session.spent("one")
    told = f"cost unknown, estimated at most {money(spent.estimated_usd)}"
    assert spent.estimated_usd > 0
    assert told in served.get("/").text
    page = served.get("/run", thread="one").text
    assert told in page
    assert "Spent holds an estimate" in page
    assert f"${spent.estimated_usd}" in page
    (node,) = Reader(served.session).run("one").steps
    page = served.get("/step", thread="one", span=node.span.id).text
    assert told in page
    assert f"unknown, estimated {spent.estimated_tokens} more at most" in page


def test_it_is_searched_filtered_and_paged(served: Served) -> None:
    run_blog(served.session, "one")
    journal = served.session.journal
    copies = [
        (
            "INSERT INTO runs (thread_id, status, error, started_at, updated_at) VALUES (?, ?, ?, ?, ?)",
            (
                f"copy-{number:03}",
                "failed" if number == 7 else "done",
                "100% wrong" if number == 7 else None,
                1,
                number,
            ),
        )
        for number in range(120)
    ]
    journal.write(copies)
    first = served.get("/").text
    assert "121 runs" in first
    (older,) = links(first, "/?after=")
    assert "copy-060" in served.get(older).text
    assert "121 runs" in served.get("/", order="; DROP TABLE runs").text
    assert served.get("/", after="nowhere").status == 404
    for query in ({"q": "copy-007"}, {"status": "failed"}, {"q": "100%"}, {"q": "0% w"}):
        assert "1 run<" in served.get("/", **query).text
    assert ">one<" in served.get("/", q="ada-7").text
    assert ">one<" in served.get("/", q="beta").text
    assert "No run fits" in served.get("/", q="' OR 1=1 --").text


def test_a_run_shows_its_graph_its_steps_and_what_came_of_it(served: Served) -> None:
    run_blog(served.session, "one", verdicts=(False, True))
    score(served.session, "one", "helpful", 0.25, comment="too long")
    page = served.get("/run", thread="one").text
    assert page.count("did not run") >= 3
    assert 'class="edge choice taken"' in page
    assert "2× " in page
    assert "→ again" in page
    assert "too long" in page
    for limit in ("calls", "50", "usd"):
        assert limit in page
    assert "howto/refine_write/write" in page
    assert "data-live" not in page


def test_steps_are_found_by_what_they_say(served: Served) -> None:
    run_blog(served.session, "one")
    assert "2 found" in served.get("/run", thread="one", q="WORK on 2").text  # its step, and what collects
    assert "0 found" in served.get("/run", thread="one", only="failed").text
    decisions = served.get("/run", thread="one", only="decisions").text
    assert {"kind", "split", "judge"} <= set(re.findall(r"<a data-row[^>]*>([^<]*)<", decisions))


def test_a_step_shows_everything_about_it(served: Served) -> None:
    run_blog(served.session, "one")
    run = Reader(served.session).run("one")
    plan = next(bar.span for bar in run.steps if bar.span.name == "plan")
    score(served.session, "one", "clear", "yes", node="howto/plan")
    page = served.get("/step", thread="one", span=plan.id).text
    for words in (
        "You are brief.",
        "Outline a how-to on tea.",
        "1. Water 2. Leaves",
        "Let me think.",
        "changed",
    ):
        assert words in page
    for words in (
        "Reserved of the budget",
        "input 8, output 4",
        "clear",
        "After checkpoint",
        'rel="next"',
        'rel="prev"',
    ):
        assert words in page
    call = next(bar.children[0].span for bar in run.steps if bar.span.id == plan.id)
    assert "You are brief." in served.get("/step", thread="one", span=call.id).text
    kind = next(bar.span for bar in run.steps if bar.span.name == "kind")
    assert "Decided: howto" in served.get("/step", thread="one", span=kind.id).text


def test_what_failed_says_so(served: Served, server: ChatServer) -> None:
    @step("outline")
    def ask(post: Post) -> Ask[str]:
        return Ask(post.topic)

    server.will(Fault(status=400, body='{"error": {"message": "no such <b>thing</b>"}}'))
    with using(server.spec()), pytest.raises(Exception, match="no such"):
        chain(ask).compile().invoke(Post(), served.session.config("broken", budget=Budget(calls=3)))
    page = served.get("/run", thread="broken").text
    assert "no such &lt;b&gt;thing" in page
    assert "node failed" in page
    assert "failed" in served.get("/").text


def test_two_runs_are_compared_from_the_first_step_that_differs(served: Served) -> None:
    run_blog(served.session, "one", "A good post.")
    run_blog(served.session, "two", "A bad post.", (False, True))
    page = served.get("/compare", thread=["one", "two"]).text
    assert "First difference: step 4, howto/refine_write/write" in page
    assert "<mark>good</mark>" in page
    assert "<mark>bad</mark>" in page
    assert "3 steps before that are the same" in page
    assert "only in b" in page
    assert "The same in both" in served.get("/compare", thread=["one", "two"], at="0").text
    assert "No step differs" in served.get("/compare", thread=["one", "one"]).text
    assert served.get("/compare", thread="one").status == 404


@pytest.mark.parametrize(
    "path", ["/nothing", "/static/../pages.py", "/static/x", "/run", "/step", "/text", "/export"]
)
def test_what_is_not_there_is_said_to_be_missing(served: Served, path: str) -> None:
    answer = served.get(path, thread="<b>nobody</b>")
    assert answer.status == 404
    assert "<b>nobody" not in answer.text


def test_hostile_texts_stay_texts(served: Served) -> None:
    run_hostile(served.session)
    pages = [
        served.get("/").text,
        served.get("/run", thread=EVIL).text,
        served.get("/compare", thread=[EVIL, EVIL]).text,
    ]
    (bar,) = Reader(served.session).run(EVIL).steps
    step_page = served.get("/step", thread=EVIL, span=bar.span.id).text
    for page in (*pages, step_page):
        assert "&lt;script&gt;window.pwned" in page
        assert "<script>window" not in page
        assert "<img" not in page
        assert "\x1b" not in page
        assert "\u202e" not in page
        assert len(page) < 100_000
    whole = next(link for link in links(step_page, "/text") if "answer" in link)
    answer = served.get(whole)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert len(answer.text) > HUGE


def test_a_run_that_waits_says_what_for_and_goes_on_after_a_pause(served: Served) -> None:
    @step("outline")
    def ask(post: Post) -> Ask[str]:
        return Ask(post.topic)

    def approve(post: Post) -> dict[str, bool]:
        return {"ok": interrupt({"question": "Send <it>?"})}

    app = chain(ask, approve, name="asks").compile()
    config = served.session.config("waits")
    with using(ScriptedModel(["a plan"])):
        app.invoke(Post(), config)
        waiting = served.get("/run", thread="waits").text
        assert "waits for an answer" in waiting
        assert "asks " in waiting
        asking = next(
            bar.span for bar in Reader(served.session).run("waits").steps if bar.span.name == "approve"
        )
        assert "Send &lt;it&gt;?" in served.get("/step", thread="waits", span=asking.id).text
        app.invoke(Command(resume=True), served.session.config("waits"))
    page = served.get("/run", thread="waits").text
    assert "after a pause of" in page
    assert "asks (resumed)" in page
    assert "replayed" not in page


def test_a_file_that_has_gone_is_said_to_have_gone(served: Served) -> None:
    served.session.journal.close()
    answer = served.get("/")
    assert answer.status == 500
    assert "token" not in answer.text


def test_a_thread_that_died_is_unfinished(served: Served) -> None:
    journal = served.session.journal
    journal.start_run("dead")
    journal.flush()
    assert "unfinished" in served.get("/run", thread="dead").text
    assert "unfinished" in served.get("/").text


def test_a_file_name_is_one_that_every_system_takes() -> None:
    assert file_name("post-1") == "post-1.html"
    assert file_name("../../etc/passwd") == "-..-etc-passwd.html"
    assert file_name("..") == "run.html"
    assert "/" not in file_name('a/b\\c\n"x"')


def test_a_page_of_a_run_is_read_again_only_when_something_was_added(
    session: Session, tmp_path: Path
) -> None:
    run_blog(session, "one")
    reader = Reader(session)
    first = reader.run("one")
    assert reader.run("one") is first
    score(session, "one", "good", 1.0)
    assert reader.run("one") is not first
