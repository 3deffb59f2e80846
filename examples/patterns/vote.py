"""Vote: five draws of one prompt; three that agree end it, and the other two are not paid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stepgraph import Ask, ScriptedModel, Tally, step, using, vote

Mood = Literal["good", "bad", "uncertain"]


@dataclass
class Review:
    text: str
    mood: Mood = "uncertain"
    tally: Tally | None = None


@step("mood")
def judge(review: Review) -> Ask[Mood]:
    return Ask(f"Is the writer's mood good or bad? {review.text}", temperature=0.8)


app = vote(judge, 5, uncertain="uncertain", tally="tally").compile()


def main() -> None:
    answers = ["good", "bad", "good", "good", "good"]
    with using(ScriptedModel(answers)):  # or: using("local"), using("openai:gpt-5-mini")
        result = app.invoke(Review("It came late, but I would buy it again."))
    print(f"mood: {result['mood']}")
    print(f"ballots: {result['tally'].counts}, agreement {result['tally'].agreement:.0%}")


if __name__ == "__main__":
    main()
