"""What the workers of one database share of an endpoint's limits, in SQL: places in a minute, and slots.

Each endpoint has a row whose lock orders its workers. In it stands how far its places are given away: whoever
takes some moves that on. A slot is a call under way at a time; a worker leases as many as it can use, and no
more than its share once others want some too. What a dead worker leased comes back when the lease expires.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from .dialect import Transaction

LEASE_S = 10.0
TURN_S = 2.0  # how long the slots that cannot be shared out evenly stay with one worker

_LOCK = (
    "INSERT INTO rate_limits (endpoint, requests_at, tokens_at, held_until) VALUES (?, 0, 0, 0) "
    "ON CONFLICT (endpoint) DO UPDATE SET endpoint = excluded.endpoint "
    "RETURNING requests_at, tokens_at, held_until, {now} AS now"
)
_STORE = "UPDATE rate_limits SET requests_at = ?, tokens_at = ?, held_until = ? WHERE endpoint = ?"
_LEASE = (
    "INSERT INTO rate_leases (endpoint, owner, held, wanted, expires_at) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (endpoint, owner) DO UPDATE SET held = excluded.held, wanted = excluded.wanted, "
    "expires_at = excluded.expires_at"
)


@dataclass(frozen=True, slots=True)
class Places:
    """How far an endpoint's places are given away, in Unix seconds; `now` is the database's time."""

    requests_at: float
    tokens_at: float
    held_until: float
    now: float


def places(db: Transaction, endpoint: str, now: str) -> Places:
    """Lock an endpoint until the end of the transaction, and return how far its places are given away."""
    (row,) = db.execute(_LOCK.format(now=now), (endpoint,))
    return Places(**{name: float(value) for name, value in row.items()})


def store_places(db: Transaction, endpoint: str, left: Places) -> None:
    db.execute(_STORE, (left.requests_at, left.tokens_at, left.held_until, endpoint))


def lease(
    db: Transaction, endpoint: str, owner: str, *, running: int, wanted: int, limit: int, now: str
) -> tuple[int, bool]:
    """Return how many slots a worker may use until it asks again, and whether others want some of them.

    `running` of its calls are under way, `wanted` could be, those included.
    """
    clock = places(db, endpoint, now).now
    db.execute("DELETE FROM rate_leases WHERE endpoint = ? AND expires_at < ?", (endpoint, clock))
    rows = db.execute("SELECT owner, held, wanted FROM rate_leases WHERE endpoint = ?", (endpoint,))
    others = {row["owner"]: row for row in rows if row["owner"] != owner}
    wishes = {name: int(row["wanted"]) for name, row in others.items()}
    share = shares({**wishes, owner: wanted}, limit, int(clock / TURN_S))[owner]
    free = limit - sum(int(row["held"]) for row in others.values())
    usable = max(0, min(share, free))
    if wanted:
        values = (endpoint, owner, max(running, usable), wanted, clock + LEASE_S)
        db.execute(_LEASE, values)
    else:
        db.execute("DELETE FROM rate_leases WHERE endpoint = ? AND owner = ?", (endpoint, owner))
    return usable, sum(wishes.values()) + wanted > limit


def shares(wishes: Mapping[str, int], limit: int, turn: int) -> dict[str, int]:
    """Share slots out evenly: who wants less than an even share leaves the rest to the others.

    Those that are left over go round: in each `turn` to others.
    """
    order = sorted(wishes, key=lambda name: hashlib.sha256(f"{name} {turn}".encode()).digest())
    slots = dict.fromkeys(wishes, 0)
    while limit > 0 and (open_ := [name for name in order if slots[name] < wishes[name]]):
        each = max(1, limit // len(open_))
        for name in open_[:limit]:
            more = min(each, wishes[name] - slots[name])
            slots[name] += more
            limit -= more
    return slots
