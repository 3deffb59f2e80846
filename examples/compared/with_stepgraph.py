"""Invoice extraction with stepgraph."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Self

from pydantic import BaseModel, Field, model_validator

from stepgraph import Ask, Session, attempt, run, step
from stepgraph.errors import InvalidAnswer


class Line(BaseModel):
    what: str
    amount: Decimal


class Invoice(BaseModel):
    number: str
    day: date
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
    problem: str = ""


@step("invoice")
def read(letter: Letter) -> Ask[Invoice]:
    def stands_there(invoice: Invoice) -> bool | str:
        return invoice.number in letter.text or f"the number {invoice.number!r} does not stand there."

    return Ask(f"Read this invoice:\n{letter.text}", check=stands_there)


app = attempt(read, otherwise={}, on=InvalidAnswer, reason="problem").compile()


def read_invoice(text: str, session: Session, thread: str) -> Letter:
    return run(app, Letter(text), session, thread).value
