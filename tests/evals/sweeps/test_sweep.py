from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from stepgraph import Ask, Budget, Session, chain, step
from stepgraph.evals.report.render import as_html, as_text
from stepgraph.evals.suite.model import Case, Expected, Suite
from stepgraph.evals.sweeps.assignment import Axis
from stepgraph.evals.sweeps.frontier import Sweep, sweep_sections
from stepgraph.evals.sweeps.sweep import sweep
from stepgraph.providers.model import Reply, Usage
from stepgraph.providers.prices import Price
from stepgraph.state.errors import InputError


@dataclass
class Sum:
    text: str
    plan: str = ""
    answer: str = ""


@step("plan", model="small")
def plan(sum: Sum) -> Ask[str]:
    return Ask(f"plan {sum.text}")


@step("answer", model="large")
def solve(sum: Sum) -> Ask[str]:
    return Ask(f"solve {sum.text} {sum.plan}")


graph = chain(plan, solve, name="sums")


class Stub:
    """Right with some probability in each trial; `usd` a million tokens, None if nobody knows."""

    def __init__(self, name: str, right: float, usd: float | None) -> None:
        self.name, self._right = name, right
        self.price = None if usd is None else Price(input=usd, output=usd)
        self.asked: Counter[str] = Counter()

    async def complete(self, request: Any, context: Any) -> Reply:
        content = str(request.messages[-1]["content"])
        self.asked[f"{request.sample} {content}"] += 1
        draw = Random(f"{self.name} {request.sample} {content}").random()
        good = draw < self._right and not content.endswith("bad")
        return Reply(text="good" if good else "bad", model=self.name, usage=Usage(input=1000, output=0))


def models(**changes: Any) -> dict[str, Any]:
    return {
        "big": Stub("big", 1.0, 10.0),
        "mid": Stub("mid", 1.0, 3.0),
        "tiny": Stub("tiny", 0.3, 0.1),
        **changes,
    }


GOOD = Expected(output={"answer": "good"}, has_output=True)
SUITE = Suite("sums", [Case(f"c{n}", {"text": f"c{n}"}, GOOD) for n in range(40)])
FEW = Suite("sums", SUITE.cases[:6])
AXES = (Axis("small", ("big", "mid", "tiny")), Axis("large", ("big", "mid", "tiny")))


def swept(session: Session, suite: Suite = SUITE, axes: Any = AXES, **options: Any) -> Sweep:
    options.setdefault("models", models())
    options.setdefault("margin", 0.25)
    return sweep(suite, graph.compile(), session, axes, **options)


def test_the_cheapest_that_keeps_the_score_is_a_combination(session: Session) -> None:
    known = models()
    found = swept(session, models=known, run="s")
    assert found.complete
    best = found.cheapest
    assert best is not None
    assert (best.models, best.verdict) == ({"small": "mid", "large": "mid"}, "keeps")
    assert best.usd == pytest.approx(0.006)
    assert best.scores[0].interval[0] > -0.25
    assert best.usd_change == pytest.approx((-0.014, -0.014))
    verdicts = {tuple(o.models.values()): o.verdict for o in found.options}
    assert verdicts["big", "tiny"] == verdicts["tiny", "big"] == "loses"
    assert set(found.skipped.values()) == {
        "small=tiny alone loses too much",
        "large=tiny alone loses too much",
    }
    assert {tuple(o.models.values()) for o in found.options if o.on_frontier} >= {("mid", "mid")}
    # Each distinct request was paid for once, in all assignments.
    assert all(set(model.asked.values()) == {1} for model in known.values())


def test_the_table_marks_what_no_other_assignment_beats(session: Session) -> None:
    axes = (Axis("small", ("big", "mid")), Axis("large", ("big", "mid")))
    table = sweep_sections(swept(session, FEW, axes))[1].table
    assert table is not None
    assert table.head[-1] == "frontier"
    assert {row[0]: row[-1] for row in table.rows} == {
        "small=mid, large=mid": "yes",
        "small=big, large=mid": "",
        "small=mid, large=big": "",
        "small=big, large=big": "",
    }


def test_a_shared_answer_costs_an_assignment_what_it_costs_alone(session: Session) -> None:
    found = swept(session, run="s")
    paid = sum(option.usd or 0.0 for option in found.options) * len(SUITE.cases)
    assert found.paid.usd < paid
    mixed = next(o for o in found.options if tuple(o.models.values()) == ("big", "mid"))
    assert mixed.usd == pytest.approx(0.013)


def test_repeats_are_draws_of_their_own(session: Session) -> None:
    known = models()
    found = swept(session, Suite("sums", SUITE.cases[:3], repeats=2), models=known, run="s")
    assert found.complete
    asked = [request.partition(" ")[2] for request in known["big"].asked]
    assert Counter(asked)["plan c0"] == 2


def test_an_unknown_price_is_never_the_cheapest(session: Session) -> None:
    found = swept(session, models=models(mid=Stub("mid", 1.0, None)))
    assert found.cheapest is not None
    assert found.cheapest.models == {"small": "big", "large": "big"}
    unknown = [o for o in found.options if o.usd is None]
    assert {o.verdict for o in unknown} == {"keeps"}
    assert "its price is not known" in found.skipped.values()
    (line,) = [line for line in sweep_sections(found)[0].lines if line.startswith("Of unknown cost")]
    assert "small=mid, large=big" in line


def test_where_no_price_is_known_nothing_is_the_cheapest(session: Session) -> None:
    unknown = {name: Stub(name, 1.0, None) for name in ("big", "mid", "tiny")}
    found = swept(session, FEW, models=unknown)
    assert found.cheapest is None
    assert "an unknown price is never the cheapest" in as_text(sweep_sections(found))


def test_too_few_cases_are_undecided(session: Session) -> None:
    found = sweep(FEW, graph.compile(), session, AXES, models=models())
    assert found.margin == 0.05
    assert found.cheapest is not None
    assert found.cheapest.verdict == "reference"
    assert "undecided" in {o.verdict for o in found.options}
    assert "keeps" not in {o.verdict for o in found.options}
    text = as_text(sweep_sections(found))
    assert "That is the reference: nothing that is cheaper was shown to keep the score." in text
    assert "More cases, or a wider margin, would tell." in text


def test_one_step_may_take_a_model_of_its_own(session: Session) -> None:
    known = models()
    axes = (Axis("plan", ("big", "mid"), "step"), Axis("large", ("big", "mid")))
    found = swept(session, Suite("sums", SUITE.cases[:20]), axes=axes, models=known)
    assert found.cheapest is not None
    assert found.cheapest.models == {"step plan": "mid", "large": "mid"}
    assert {request.split()[1] for request in known["mid"].asked} == {"plan", "solve"}


def test_a_sweep_ends_with_its_budget_and_goes_on(session: Session, tmp_path: Path) -> None:
    known = models()
    short = Suite("sums", SUITE.cases, budget=Budget(calls=130))
    first = swept(session, short, models=known, run="s", folder=tmp_path)
    assert not first.complete
    assert first.cheapest is not None
    assert first.paid.calls <= 130
    assert "the budget ended" in first.skipped.values()
    asked = sum(sum(model.asked.values()) for model in known.values())
    again = swept(session, models=known, run="s", folder=tmp_path)
    whole = swept(session, models=models(), run="t")
    assert again.complete
    assert asked <= 130
    assert all(set(model.asked.values()) == {1} for model in known.values())
    assert [o.models for o in again.options] == [o.models for o in whole.options]


def test_what_no_step_asks_is_refused(session: Session) -> None:
    with pytest.raises(InputError, match="No step of 'sums' asks the smal"):
        swept(session, axes=(Axis("smal", ("big", "mid")),))
    with pytest.raises(InputError, match="has no step planing"):
        swept(session, axes=(Axis("planing", ("big", "mid"), "step"),))
    with pytest.raises(InputError, match="nothing to sweep"):
        swept(session, axes=(Axis("small", ("big",)),))
    with pytest.raises(InputError, match="big and same are the same to the record"):
        swept(session, axes=(Axis("small", ("big", "same")),), models=models(same=Stub("big", 1.0, 1.0)))
    with pytest.raises(InputError, match="has a model twice"):
        swept(session, axes=(Axis("small", ("big", "big")),))
    with pytest.raises(InputError, match="The role 'small' is swept twice"):
        swept(session, axes=(Axis("small", ("big", "mid")), Axis("small", ("mid", "big"))))
    with pytest.raises(InputError, match="no number of cases rules out any loss"):
        swept(session, margin=0.0)
    with pytest.raises(InputError, match="does not measure 'outputs'"):
        swept(session, metrics=["outputs"])
    assert not session.journal.query("SELECT 1 FROM calls")


def test_the_page_tells_the_same(session: Session) -> None:
    page = as_html(sweep_sections(swept(session)))
    assert "Cheapest that keeps the score: small=mid, large=mid" in page
    assert "70% less than the reference" in page
