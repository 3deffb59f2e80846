"""Attempt: an answer that never fits goes elsewhere, and the run goes on."""

from __future__ import annotations

from dataclasses import dataclass

from stepgraph import Ask, ScriptedModel, attempt, chain, gate, step, using


@dataclass
class Invoice:
    text: str
    total: float | None = None
    note: str = ""
    why: str = ""


@step("total", tries=2)
def read_total(invoice: Invoice) -> Ask[float]:
    return Ask(f"Give the total of this invoice.\n{invoice.text}")


@step("note")
def ask_the_sender(invoice: Invoice) -> Ask[str]:
    return Ask(f"Ask the sender for a readable copy, in one sentence.\n{invoice.text}")


def plausible(invoice: Invoice) -> bool | str:
    return (invoice.total or 0) > 0 or "a total is above 0."


app = attempt(chain(read_total, gate(plausible)), otherwise=ask_the_sender, reason="why").compile()


def main() -> None:
    answers = {"read_total": [12.5, 0], "ask_the_sender": ["Could you send it again?"]}
    with using(ScriptedModel(answers)):  # or: using("local"), using("openai:gpt-5-mini")
        for text in ("Tea, 2 x 6.25", "T?a, ? x ?"):
            result = app.invoke(Invoice(text))
            print(f"{text}: {result['total'] or result['note']} {result['why'].partition(':')[0]}".rstrip())


if __name__ == "__main__":
    main()
