"""Refine: write, let code count the words, and write again until they fit."""

from __future__ import annotations

from dataclasses import dataclass

from stepgraph import Ask, ScriptedModel, refine, rule, step, using

LIMIT = 6


@dataclass
class News:
    text: str
    title: str = ""
    excess: int = 0


@step("title")
def headline(news: News) -> Ask[str]:
    shorter = f"\n{news.title!r} is {news.excess} words too long." if news.excess else ""
    return Ask(f"A headline of at most {LIMIT} words: {news.text}{shorter}")


@rule("excess")
def too_long(news: News) -> int:
    return max(0, len(news.title.split()) - LIMIT)


app = refine(headline, too_long, until=lambda excess: not excess, rounds=3, score=lambda n: -n).compile()


def main() -> None:
    answers = ["The rain will come back to the north on Monday", "Rain returns to the north"]
    with ScriptedModel(answers) as model, using(model):  # or: using("local"), using("openai:gpt-5-mini")
        result = app.invoke(News("After a dry week, rain is expected in the north from Monday."))
    for number, (_, request) in enumerate(model.asks, 1):
        print(f"asked {number}: {request.messages[-1]['content']}")
    print(f"title: {result['title']}")


if __name__ == "__main__":
    main()
