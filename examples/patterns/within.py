"""Within: a loop with a budget of its own; when that ends, the best draft so far is there."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from stepgraph import Ask, Budget, ScriptedModel, Session, refine, run, step, using, within


@dataclass
class Digest:
    text: str
    summary: str = ""
    score: int = 0


@step("summary")
def sum_up(digest: Digest) -> Ask[str]:
    return Ask(f"Sum up in one sentence: {digest.text} {digest.summary}")


@step("score", model="judge")
def judge(digest: Digest) -> Ask[int]:
    return Ask(f"How good is this, from 1 to 5? {digest.summary}")


polish = refine(sum_up, judge, until=lambda score: score >= 5, rounds=5)
app = within(polish, Budget(calls=4)).compile()


def main() -> None:
    answers = {"sum_up": ["It rained.", "Rain."], "judge": [4, 2]}
    with (
        tempfile.TemporaryDirectory() as folder,
        Session(Path(folder) / "runs.sqlite") as session,
        using(ScriptedModel(answers)),  # or: using("local"), using("openai:gpt-5-mini")
    ):
        ended = run(app, Digest("It rained in the north, all week."), session, "digest-1")
    print(f"{ended.status}: {ended.limit}")
    print(f"the best so far: {ended.values['summary']}")


if __name__ == "__main__":
    main()
