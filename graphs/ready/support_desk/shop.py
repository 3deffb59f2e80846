"""The shop's database: products, orders, payments and help articles, in SQLite."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Sequence
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
    match = ORDER_NUMBER.search(text)
    return f"SG-{match.group(1)}" if match else None


def order_facts(number: str) -> list[str]:
    """Return what is known about an order, one sentence a fact; empty for an unknown number."""
    rows = _rows(
        "SELECT o.*, p.name FROM orders o JOIN products p USING (sku) WHERE number = ?",
        number,
    )
    if not rows:
        return []
    (order,) = rows
    what = f"Order {number} ({order['quantity']} x {order['name']})"
    if order["status"] == "shipped":
        return [f"{what} was shipped on {order['shipped_on']}."]
    stock = [f"The {order['name']} is out of stock."] if order["status"].startswith("waiting") else []
    return [f"{what} is {order['status']}.", *stock]


def payment_facts(number: str) -> list[str]:
    """Return the payments of an order; two equal charges on one day are a mistake of ours."""
    rows = _rows(
        "SELECT kind, charged_on, amount, count(*) AS times FROM payments WHERE number = ? "
        "GROUP BY kind, charged_on, amount ORDER BY charged_on",
        number,
    )
    facts = []
    for row in rows:
        amount, day = f"${row['amount']:.2f}", row["charged_on"]
        if row["kind"] == "refund":
            facts.append(f"{amount} was refunded on {day}.")
        elif row["times"] > 1:
            facts += [f"{amount} was charged twice on {day}.", "We will refund the second charge."]
        else:
            facts.append(f"{amount} was charged on {day}.")
    return facts


def owed(number: str) -> float:
    """Return what was charged twice on one day, or for a cancelled order, and was not refunded."""
    rows = _rows(
        "SELECT coalesce(sum(amount), 0) AS charged FROM "
        "(SELECT amount * (count(*) - (status != 'cancelled')) AS amount "
        "FROM payments JOIN orders USING (number) WHERE number = ? AND kind = 'charge' "
        "GROUP BY charged_on, amount)",
        number,
    )
    back = _rows(
        "SELECT coalesce(sum(amount), 0) AS back FROM payments WHERE number = ? AND kind = 'refund'", number
    )
    return max(0.0, round(float(rows[0]["charged"]) - float(back[0]["back"]), 2))


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


def find_products(query: str, limit: int = 5) -> list[str]:
    """Return what is known about the products whose names share a word with the query."""
    words = {word.rstrip("s") for word in re.findall(r"[a-z]{3,}", query.lower()) if word not in _STOP_WORDS}
    rows = [row for row in _rows("SELECT * FROM products ORDER BY sku") if _words_of(row["name"]) & words]
    return [
        f"{row['name']}: ${row['price']:.2f}, "
        f"{_stock(row['in_stock'])}, "
        f"{row['warranty_months']} months of warranty."
        for row in rows[:limit]
    ]


def _stock(number: int) -> str:
    return f"{number} in stock" if number else "out of stock"


def _words_of(name: str) -> set[str]:
    return set(re.findall(r"[a-z]{3,}", name.lower()))


def product_names() -> str:
    """Return the names of all products, in one text."""
    return ", ".join(row["name"] for row in _rows("SELECT name FROM products ORDER BY sku"))


def amounts(orders: Sequence[str]) -> set[float]:
    """Return the amounts of money that have to do with these orders, and the prices."""
    marks = ", ".join("?" * len(orders))
    rows = _rows("SELECT price AS amount FROM products")
    rows += _rows(f"SELECT amount FROM payments WHERE number IN ({marks})", *orders)
    return {float(row["amount"]) for row in rows}
