"""Invoice extraction with pydantic-ai."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Self

from pydantic import BaseModel, Field, model_validator
from pydantic_ai import Agent, ModelRetry, RunContext, UnexpectedModelBehavior
from pydantic_ai.models import Model


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


agent = Agent(output_type=Invoice, deps_type=str, retries=2)


@agent.output_validator
def stands_there(context: RunContext[str], invoice: Invoice) -> Invoice:
    if invoice.number not in context.deps:
        raise ModelRetry(f"the number {invoice.number!r} does not stand there.")
    return invoice


def read_invoice(text: str, model: Model) -> Letter:
    try:
        result = agent.run_sync(f"Read this invoice:\n{text}", deps=text, model=model)
    except UnexpectedModelBehavior as error:
        return Letter(text, problem=f"{error}: {error.__cause__}")
    return Letter(text, result.output)
