"""How runs stand, as SQL: what is on record as running has died where nobody who lives holds its thread."""

from __future__ import annotations

import re

from ..statuses import RUNNING, UNFINISHED
from .journal import Journal
from .owners import FileOwner

_TOKEN = re.compile(r"[0-9a-f]+(?=\.)")  # what the names of all claims of one owner begin with
_LONGEST = 40


def run_state(journal: Journal) -> str:
    """Return the expression of how a run of `runs AS r` stands: its status, `unfinished` if it died.

    A run that ends puts that on record. So one that is running there was killed, unless a claim holds its
    thread that has not ended, and whose owner lives, as far as can be seen from here.
    """
    held = f"SELECT 1 FROM claims k WHERE k.thread_id = r.thread_id AND {holding(journal)}"
    died = f"r.status = '{RUNNING}' AND NOT EXISTS ({held})"
    return f"CASE WHEN {died} THEN '{UNFINISHED}' ELSE r.status END"


def holding(journal: Journal) -> str:
    """Return the condition that one of `claims AS k` holds its thread."""
    unended = f"k.expires_at > 0 AND k.expires_at > {journal.dialect.now}"  # an index has the first alone
    if not journal.store.has_file:
        return unended
    owner = FileOwner(journal.store.file)
    claims = journal.query(f"SELECT k.* FROM claims k WHERE {unended}")
    by_token = {token[0]: row for row in claims if (token := _TOKEN.match(row["owner"]))}
    dead = [token for token, row in by_token.items() if len(token) <= _LONGEST and not owner.lives(row)]
    return " AND ".join([unended, *(f"substr(k.owner, 1, {len(t) + 1}) <> '{t}.'" for t in dead)])
