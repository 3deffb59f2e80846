"""Reads an invoice. Code checks what was read; what does not hold is asked again, then left to a person.

stepgraph run examples/invoice.py:invoice -i text="Invoice R-7 of 3 March 2026: tea EUR 4.50. Total 4.50"
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from stepgraph import Ask, ScriptedModel, attempt, step, using


class Line(BaseModel):
    what: str
    amount: Decimal


class Invoice(BaseModel):
    number: str
    day: date
    currency: Literal["EUR", "USD"]
    lines: list[Line] = Field(min_length=1)
    total: Decimal

    @model_validator(mode="after")
    def adds_up(self) -> Self:
        added = sum(line.amount for line in self.lines)
        if added != self.total:
            raise ValueError(f"the lines add up to {added}, not to the total of {self.total}")
        return self


@dataclass
class Letter:
    text: str
    invoice: Invoice | None = None
    problem: str = ""  # why it is left to a person


@step("invoice")
def read(letter: Letter) -> Ask[Invoice]:
    def stands_there(invoice: Invoice) -> bool | str:
        return invoice.number in letter.text or f"the number {invoice.number!r} does not stand there."

    return Ask(f"Read this invoice:\n{letter.text}", temperature=0, check=stands_there)


invoice = attempt(read, otherwise={}, reason="problem", name="invoice")

if __name__ == "__main__":
    text = "Invoice R-7 of 3 March 2026: tea 4.50, cups 8.00. To pay: EUR 12.50"
    lines = [{"what": "tea", "amount": "4.50"}, {"what": "cups", "amount": "8.00"}]
    right = {"number": "R-7", "day": "2026-03-03", "currency": "EUR", "lines": lines, "total": "12.50"}
    answers = [{**right, "total": "12"}, {**right, "number": "7-R"}, right]
    with ScriptedModel(answers) as model, using(model):
        print(invoice.compile().invoke(Letter(text))["invoice"])
    print(model.asks[-1][1].messages[-1]["content"])
