"""Ensemble: two models write, a third reads both drafts and makes one of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from stepgraph import Ask, ScriptedModel, ensemble, step, using


@dataclass
class Slogan:
    product: str
    text: str = ""
    drafts: list[str] = field(default_factory=list)


@step("text", model="small")
def write(slogan: Slogan) -> Ask[str]:
    return Ask(f"A slogan for {slogan.product}, in at most six words.")


@step("text", model="large")
def choose(slogan: Slogan) -> Ask[str]:
    listed = "\n".join(f"- {draft}" for draft in slogan.drafts)
    return Ask(f"Give the best of these slogans for {slogan.product}, or a better one.\n{listed}")


app = ensemble([write, write.on("medium")], into="drafts", merge=choose).compile()


def main() -> None:
    answers = {"write": ["Tea. Hot.", "A pot of calm."], "choose": ["A pot of calm."]}
    with using(ScriptedModel(answers)):  # or: using("local"), using("openai:gpt-5-mini")
        result = app.invoke(Slogan("a teapot"))
    print(f"{' | '.join(result['drafts'])} -> {result['text']}")


if __name__ == "__main__":
    main()
