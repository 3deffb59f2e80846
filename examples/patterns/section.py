"""Section: independent aspects of one contract, read at once; a straggler cannot hold the run."""

from __future__ import annotations

from dataclasses import dataclass, field

from stepgraph import Ask, ScriptedModel, section, step, using


@dataclass
class Contract:
    text: str
    legal: str = ""
    money: str = ""
    summary: str = ""
    missing: dict[str, str] = field(default_factory=dict)


@step("legal")
def read_law(contract: Contract) -> Ask[str]:
    return Ask(f"Name the legal risk in one sentence.\n{contract.text}")


@step("money")
def read_prices(contract: Contract) -> Ask[str]:
    return Ask(f"Name the financial risk in one sentence.\n{contract.text}")


@step("summary")
def sum_up(contract: Contract) -> Ask[str]:
    return Ask(f"Sum up in one sentence: {contract.legal} {contract.money}")


app = section(
    {"legal": read_law, "money": read_prices},
    merge=sum_up,
    timeout_s=60,
    failed="skip",
    missing="missing",
).compile()


def main() -> None:
    answers = {
        "read_law": ["The seller may end it at any time."],
        "read_prices": ["The price may rise without notice."],
        "sum_up": ["It binds only the buyer."],
    }
    with using(ScriptedModel(answers)):  # or: using("local"), using("openai:gpt-5-mini")
        result = app.invoke(Contract("The seller may change the price, or end this contract, at any time."))
    for aspect in ("legal", "money", "summary"):
        print(f"{aspect}: {result[aspect]}")
    print(f"left out: {result['missing'] or 'nothing'}")


if __name__ == "__main__":
    main()
