"""The saved file: whole, masked, and shut against everything that is not its own."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace

from stepgraph import ScriptedModel, Session, using
from stepgraph.state.journal.budget_reads import BudgetAccount
from stepgraph.state.masking import EVERYTHING
from stepgraph.tracing.record.run import Limit
from stepgraph.ui.exporting import to_html
from stepgraph.ui.records import Reader

from .conftest import Served
from .runs import EVIL, HUGE, Note, hostile_graph, run_blog, run_hostile


def page_of(session: Session, thread: str) -> str:
    return to_html(Reader(session).run(thread), EVERYTHING)


def test_it_holds_every_step_whole(session: Session) -> None:
    run_blog(session, "one", draft="A post. " * 2000)
    page = page_of(session, "one")
    run = Reader(session).run("one")
    for bar in run.steps:
        assert f'id="s-{bar.span.id}"' in page
    assert "A post. " * 2000 in page
    anchors = set(re.findall(r'href="#([^"]+)"', page))
    assert anchors <= set(re.findall(r' id="([^"]+)"', page))


def test_it_asks_nobody_for_anything(session: Session) -> None:
    run_hostile(session)
    page = page_of(session, EVIL)
    assert re.findall(r'(?:src|href)="([^#"][^"]*)"', page) == []
    assert "&lt;script&gt;window.pwned" in page
    assert "<script>window.pwned" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert len(page) > HUGE


def test_its_policy_allows_its_own_style_and_script_alone(session: Session) -> None:
    run_blog(session, "one")
    page = page_of(session, "one")
    policy = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)[0].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; ")
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (own,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        wanted = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{directive} 'sha256-{wanted}'" in policy
    assert " style=" not in page
    assert " onclick" not in page


def test_it_is_masked(session: Session) -> None:
    secret = "write to ada@example.org with sk-" + "a1b2" * 8
    with using(ScriptedModel([secret], reasoning=secret)):
        hostile_graph().invoke(Note(secret), session.config("for ada@example.org", user="ada@example.org"))
    run = Reader(session).run("for ada@example.org")
    account = BudgetAccount("user:ada@example.org", "day", 0, None, {}, {}, {}, {})
    shared = Limit("usd", 1.0, 0.5, 0.5, account)
    models = {"large": "custom:m@https://h/sk-" + "a1b2" * 8}
    run = replace(run, limits=[shared], thread=replace(run.thread, models=models))
    page = to_html(run, EVERYTHING)
    assert "user:[email]" in page
    assert "ada@example.org" not in page
    assert "a1b2a1b2" not in page
    assert page.count("[email]") > 4


def test_the_page_offers_it_under_a_fitting_name(served: Served) -> None:
    run_blog(served.session, 'a"b/c')
    answer = served.get("/export", thread='a"b/c')
    assert answer.headers["content-disposition"] == 'attachment; filename="a-b-c.html"'
    assert answer.text.startswith("<!doctype html>")
