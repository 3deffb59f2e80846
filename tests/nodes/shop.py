"""A shop whose charges are effects: what the tests of effects stand on."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Annotated, Any

from langgraph.types import interrupt

from stepgraph import effect
from stepgraph.nodes.effects import Effect


@dataclass
class Order:
    id: str = "1"
    note: str = ""
    receipt: str = ""
    approved: str = ""
    log: Annotated[list[str], operator.add] = field(default_factory=list)


class Shop:
    """The world outside: what was charged, and what goes wrong."""

    def __init__(self) -> None:
        self.charged: list[str] = []
        self.trouble: list[Exception | None] = []

    def charge(self, key: str) -> dict[str, Any]:
        trouble = self.trouble.pop(0) if self.trouble else None
        if trouble is not None:
            raise trouble
        self.charged.append(key)
        return {"receipt": f"r{len(self.charged)}", "log": ["charged"]}


def charging(shop: Shop, **options: Any) -> Effect[Order]:
    @effect(**options)
    def charge(order: Order, key: str) -> dict[str, Any]:
        return shop.charge(key)

    return charge


def approve(order: Order) -> dict[str, Any]:
    return {"approved": interrupt("fine?")}
