"""Chain: notes become decisions, and decisions a memo; a gate stops notes that hold none."""

from __future__ import annotations

from dataclasses import dataclass

from stepgraph import Ask, ScriptedModel, chain, gate, step, using


@dataclass
class Memo:
    notes: str
    points: str = ""
    text: str = ""


@step("points", model="small")
def sort_out(memo: Memo) -> Ask[str]:
    return Ask(f"List the decisions in these notes, one a line.\n{memo.notes}")


@step("text")
def write(memo: Memo) -> Ask[str]:
    return Ask(f"Write a memo of two sentences about these decisions.\n{memo.points}")


def has_decisions(memo: Memo) -> bool | str:
    return bool(memo.points.strip()) or "the notes hold no decision."


app = chain(sort_out, gate(has_decisions), write).compile()


def main() -> None:
    answers = {
        "sort_out": ["- We move in May.\n- Bo orders the boxes."],
        "write": ["We will move in May. Bo orders the boxes."],
    }
    with using(ScriptedModel(answers)):  # or: using("local"), using("openai:gpt-5-mini")
        result = app.invoke(Memo("Ada: so, May? Bo: fine, I'll get boxes."))
    print(result["points"])
    print(f"memo: {result['text']}")


if __name__ == "__main__":
    main()
