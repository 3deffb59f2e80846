"""A run whose lease was taken over, in any graph: what it paid for is kept as superseded, and that is all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Request, RunResult, ScriptedModel, Session, aresume, arun, using
from stepgraph.errors import EffectUnknown, ThreadBusy
from stepgraph.providers.model import CallContext
from stepgraph.providers.prices import Price
from tests.chaos.compositions.building import Composition
from tests.chaos.compositions.lives import MAX_RESUMES, word
from tests.chaos.compositions.states import shown

T = "t"
ELSE = (
    "runs node_runs decisions invocations replays coalesced_calls retrievals waits effects checkpoints writes"
).split()
PRICE = Price(input=1.0, output=1.0)


def model(built: Composition, at: int = 0, then: Callable[[], None] = lambda: None) -> ScriptedModel:
    """Answer as a composition's model does; at one question, something happens first."""
    asked = 0

    def answer(request: Request, context: CallContext) -> Any:
        nonlocal asked
        asked += 1
        if asked == at:
            then()
        return built.questions[context.step].answer(request)

    return ScriptedModel(answer, price=PRICE)


async def ended(built: Composition, session: Session, script: ScriptedModel, *, begun: bool) -> RunResult:
    """Run until the graph has ended, and say what a person would."""
    answers = None
    with using(script):
        for _ in range(MAX_RESUMES):
            try:
                if begun:
                    result = await aresume(built.app, session, T, answers=answers)
                else:
                    result = await arun(built.app, built.given(), session, T)
            except EffectUnknown:
                for effect in session.undecided_effects():
                    decided(built, session, effect.key)
                begun, answers = True, None
                continue
            if result.status == "done":
                return result
            begun, answers = True, {each.id: word(each.value) for each in result.waiting}
    raise AssertionError("It does not end.")


def decided(built: Composition, session: Session, key: str) -> None:
    lines = built.effects.read_text().splitlines() if built.effects.exists() else []
    done = [line.removesuffix(f" {key}") for line in lines if line.endswith(f" {key}")]
    update = {built.receipts[key.partition(":")[0]]: done} if done else None
    session.decide_effect(key, happened=bool(done), update=update)


def rows(session: Session) -> dict[str, list[Any]]:
    return {table: session.journal.query(f"SELECT * FROM {table}") for table in ELSE}


def calls(session: Session) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in session.journal.query("SELECT * FROM calls")}


@pytest.mark.parametrize(
    ("store", "seed", "share"),
    [("file", 8, 0.3), ("file", 55, 0.5), ("postgres", 8, 0.5), ("postgres", 55, 0.7)],
)
async def test_an_owner_that_was_taken_over_leaves_nothing_but_what_it_paid_for(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    store: str,
    seed: int,
    share: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stepgraph.state.journal.claims.RENEW_S", 1000.0)  # no claim is sure by the clocks
    database = tmp_path / "runs.sqlite" if store == "file" else request.getfixturevalue("postgres_url")
    built = Composition(seed, tmp_path / "effects", rich=False)
    alone = Composition(seed, tmp_path / "alone", rich=False)
    with Session(tmp_path / "alone.sqlite") as session:
        script = model(alone)
        expected = {
            name: shown(value)
            for name, value in (await ended(alone, session, script, begun=False)).values.items()
        }
    taken: dict[str, Any] = {}
    with Session(database) as zombie, Session(database) as owner:

        def take_over() -> None:
            owner.claims.end(T, [zombie.claims.worker_name()])
            owner.claims.acquire(T)
            taken.update(rows=rows(owner), calls=calls(owner), happened=happened(built))

        script = model(built, max(1, int(len(script.asks) * share)), take_over)
        with pytest.raises(ThreadBusy, match="no longer run by this process"):
            await ended(built, zombie, script, begun=False)
        zombie.journal.flush()
        assert rows(owner) == taken["rows"]
        assert happened(built) == taken["happened"]
        before, after = taken["calls"], calls(owner)
        fresh = [row for key, row in after.items() if key not in before]
        assert {key: after[key] for key in before} == before
        assert {row["status"] for row in fresh} <= {"superseded", "failed"}
        paid = [row for row in fresh if row["status"] == "superseded"]
        assert paid
        assert all(row["cost_usd"] > 0 for row in paid if row["source"] == "model")
        assert owner.spent(T).calls == len([row for row in after.values() if row["source"] == "model"])
        owner.claims.release(T)
        result = await ended(built, owner, model(built), begun=True)
        assert {name: shown(value) for name, value in result.values.items()} == expected
        assert max(Counter(happened(built)).values(), default=0) <= 1
        rest = {key: row for key, row in calls(owner).items() if key in {each["id"] for each in paid}}
        assert all(row["status"] == "superseded" for row in rest.values())


def happened(built: Composition) -> list[str]:
    return built.effects.read_text().splitlines() if built.effects.exists() else []
