"""The shop's database: products, orders, payments and help articles, in SQLite."""

from __future__ import annotations

import re
import sqlite3
import threading
from functools import cache
from importlib.resources import files
from typing import Any

ORDER_NUMBER = re.compile(r"\bSG-?\s?(\d{4})\b", re.IGNORECASE)
_STOP_WORDS = frozenset(
    "and are but can does for from have how not our please that the there this was what when where which "
    "why with you your".split()
)
_lock = threading.Lock()


@cache
def _database() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.executescript((files(__package__) / "shop.sql").read_text(encoding="utf-8"))
    connection.row_factory = sqlite3.Row
    return connection


def _rows(sql: str, *values: Any) -> list[sqlite3.Row]:
    with _lock:
        return _database().execute(sql, values).fetchall()


def order_number_in(text: str) -> str | None:
    """Return the first order number in a text, written SG-1042, sg1042 or SG 1042."""
    found = ORDER_NUMBER.search(text)
    return f"SG-{found.group(1)}" if found else None


def order_facts(number: str) -> list[str]:
    """Return what is known about an order, one sentence a fact; empty for an unknown number."""
    rows = _rows(
        "SELECT o.*, p.name, p.price, p.warranty_months, p.in_stock "
        "FROM orders o JOIN products p USING (sku) WHERE number = ?",
        number,
    )
    if not rows:
        return []
    (order,) = rows
    facts = [f"Order {number} ({order['quantity']} x {order['name']}) is {order['status']}."]
    if order["shipped_on"]:
        facts.append(f"It was shipped on {order['shipped_on']}.")
    elif not order["in_stock"]:
        facts.append(f"The {order['name']} is out of stock.")
    return facts


def payment_facts(number: str) -> list[str]:
    """Return the payments of an order, and whether it was charged twice."""
    rows = _rows("SELECT * FROM payments WHERE number = ? ORDER BY charged_on", number)
    facts = []
    for row in rows:
        verb = "charged" if row["kind"] == "charge" else "refunded"
        facts.append(f"${row['amount']:.2f} was {verb} on {row['charged_on']}.")
    charges = [(row["charged_on"], row["amount"]) for row in rows if row["kind"] == "charge"]
    if len(set(charges)) < len(charges):
        facts = [*dict.fromkeys(facts), "It was charged twice by mistake, and one charge will be refunded."]
    return [*facts, "The invoice is in your account."] if facts else []


def warranty_facts(number: str) -> list[str]:
    """Return until when the ordered product is under warranty."""
    rows = _rows(
        "SELECT name, warranty_months, date(ordered_on, '+' || warranty_months || ' months') AS until "
        "FROM orders JOIN products USING (sku) WHERE number = ?",
        number,
    )
    return [f"The {row['name']} from order {number} is under warranty until {row['until']}." for row in rows]


def product_of(number: str) -> str:
    """Return the name of the ordered product, empty for an unknown number."""
    rows = _rows("SELECT name FROM orders JOIN products USING (sku) WHERE number = ?", number)
    return str(rows[0]["name"]) if rows else ""


def find_article(text: str) -> list[str]:
    """Return the help article that fits the text best, if any does."""
    words = [w for w in re.findall(r"[a-z]{3,}", text.lower()) if w not in _STOP_WORDS]
    if not words:
        return []
    query = " OR ".join(f'"{word}"' for word in dict.fromkeys(words))
    rows = _rows(
        "SELECT body FROM articles WHERE articles MATCH ? ORDER BY bm25(articles, 3.0, 1.0) LIMIT 1", query
    )
    return [row["body"] for row in rows]
