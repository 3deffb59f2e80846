"""Fan-out: one worker for each review of a product, all at once; one that fails is left out and named."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from stepgraph import Ask, ScriptedModel, fan_out, step, using

Mood = Literal["happy", "unhappy"]


@dataclass
class Review:
    text: str
    mood: Mood | None = None


@dataclass
class Product:
    name: str
    texts: list[str]
    reviews: list[Review] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def split(product: Product) -> list[Review]:
    return [Review(text) for text in product.texts]


@step("mood", tries=1)
def read(review: Review) -> Ask[Mood]:
    return Ask(f"Is this customer happy?\n{review.text}")


app = fan_out(split, read, into="reviews", timeout_s=60, failed="skip", missing="missing").compile()


def main() -> None:
    texts = ["It boils in a minute.", "It leaks.", "?"]
    answers = dict(zip(texts, ["happy", "unhappy", "who knows"], strict=True))
    model = ScriptedModel(lambda request, _: answers[request.messages[-1]["content"].split("\n")[1]])
    with using(model):  # or: using("local"), using("openai:gpt-5-mini")
        result = app.invoke(Product("kettle", texts))
    for review in result["reviews"]:
        print(f"{review.mood}: {review.text}")
    for number, reason in result["missing"].items():
        print(f"no answer for number {number}: {reason[:60]}…")


if __name__ == "__main__":
    main()
