from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

from stepgraph.evals.files.results import Header, Results, Trial
from stepgraph.evals.report.junit import as_junit
from stepgraph.evals.report.render import as_html, as_markdown, as_text
from stepgraph.evals.report.sections import sections
from stepgraph.evals.report.summary import Report, summarise
from stepgraph.evals.scoring.trial_record import Loop, Route, VoteResult
from stepgraph.evals.suite.model import Case, Gate, Score, Suite
from stepgraph.state.cost import Cost

EVIL = "<script>alert(1)</script>\x1b[31m | `x` [l](http://e.vil) @you & \x00 ![i](//e.vil) </table>"


def report(text: str = EVIL) -> Report:
    """Return a report in which everything that somebody else may write is `text`."""
    gate = Gate("route", at_least=0.9)
    suite = Suite(text, [Case(text, {}), Case("b", {})], gates=[gate], graph=text)
    results = Results(None, Header.of(suite, "run-1", {text: text}))
    bad = Trial(
        text,
        1,
        text,
        "failed",
        error=text,
        scores={"route": Score(0.0, False, text), text: Score(None, None, text)},
        expected_routes={"": text},
        path=("classify",),
        routes=(Route("classify", text),),
        loops=(Loop(text, 2, "approved"),),
        votes=(VoteResult("vote", "uncertain", 0.6, decided=False),),
        cost=Cost(3, 70, 30, 0.01, 1),
        seconds=1.5,
        output=text,
    )
    results.add(bad)
    results.add(replace(bad, case="b", status="cut", limit="calls", missing=("good",)))
    return summarise(results, results)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.links += [
            value or "" for name, value in attrs if name in ("src", "href") or name.startswith("on")
        ]


def test_html_is_one_page_in_which_nothing_acts() -> None:
    page = as_html(sections(report()))
    tags = Tags()
    tags.feed(page)
    assert tags.seen <= {
        "html", "head", "meta", "title", "style", "body", "section", "h1", "h2", "p", "div", "table", "thead",
        "tbody", "tr", "th", "td",
    }  # fmt: skip
    assert tags.links == []
    assert "&lt;script&gt;" in page
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    assert "\x1b" not in page
    assert "\x00" not in page


def test_markdown_shows_text_as_it_is() -> None:
    text = as_markdown(sections(report()))
    assert "<script" not in text
    assert "http://e" not in text
    assert not re.search(r"(?<!\\)`", text)
    assert not re.search(r"@y", text)
    assert not re.search(r"(?<!\\)\]\(", text)
    rows = [line for line in text.splitlines() if line.startswith("| failed")]
    assert rows
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)


def test_text_has_no_control_characters_and_says_what_matters() -> None:
    text = as_text(sections(report()))
    assert all(c.isprintable() or c == "\n" for c in text)
    for told in (
        "route >= 0.9",
        "Route classify: 2 of 2 right",
        "What budgets cut",
        "Rounds of loops",
        "Votes",
        "Undecided, so perhaps equal",
        "2 calls of unknown cost",
    ):
        assert told in text, told


def test_junit_is_xml_whatever_is_in_it() -> None:
    root = ET.fromstring(as_junit(report()))
    (suite,) = root
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "2")
    gate = next(case for case in suite if case.get("classname") == "gates")
    failure = gate.find("failure")
    assert failure is not None
    assert (failure.get("message") or "").startswith("0.000 over 2 cases")


def test_junit_without_gates_fails_the_trials_and_a_partial_run_is_an_error() -> None:
    whole = report("plain")
    bare = replace(whole, gates=(), trials=whole.trials[:1])
    (suite,) = ET.fromstring(as_junit(bare))
    assert (suite.get("failures"), suite.get("errors")) == ("1", "1")


def test_a_vote_counts_as_uncertain_by_its_decision_and_never_by_its_label() -> None:
    trial = report().trials[0]
    votes = (
        VoteResult("vote", "UNCERTAIN", 1.0, decided=True),
        VoteResult("vote", "uncertain", 0.9, decided=True),
        VoteResult("vote", "uncertain", 0.4, decided=False),
        VoteResult("vote", "good", 0.9),
    )
    suite = Suite("s", [Case("a", {})])
    results = Results(None, Header.of(suite, "r", {}))
    results.add(replace(trial, case="a", votes=votes))
    (summary,) = summarise(results).votes
    assert (summary.votes, summary.uncertain) == (4, 1)


def test_the_report_tells_the_median_and_the_95th_percentile_of_trials_that_ran() -> None:
    trial = report().trials[0]
    ids = [f"c{number}" for number in range(41)]
    results = Results(None, Header.of(Suite("s", [Case(name, {}) for name in ids]), "r", {}))
    for number, name in enumerate(ids[:40]):
        results.add(replace(trial, case=name, seconds=float(40 - number)))
    results.add(replace(trial, case="c40", seconds=0.0, path=()))  # its input was refused, so nothing ran
    assert summarise(results).seconds == (20.5, 39.0)


def test_what_is_known_of_the_judges_is_a_section_of_its_own() -> None:
    last = sections(replace(report(), notes=("tone agrees with people on 9 of 10 examples",)))[-1]
    assert (last.title, last.lines) == ("Judges", ("tone agrees with people on 9 of 10 examples",))
