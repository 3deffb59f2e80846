"""Claims for the runs of turns, taken before those begin: a run that begins is the first on its thread."""

from __future__ import annotations

import asyncio

from ..errors import StoreError
from .claim import Claim
from .claims import Claims
from .dialect import Rows
from .journal import Journal
from .records import Statement
from .taking import Wish, ending, taking_with_turn, worker_of


class TurnClaims:
    """Claims new threads whose run is about to begin for a turn of a job.

    The run takes its claim over as it begins. Whoever took it calls `give_up` once the turn is over.
    """

    def __init__(self, claims: Claims, journal: Journal) -> None:
        self._claims = claims
        self._journal = journal

    async def begin(self, thread_id: str, owner: str, token: int, beginning: Statement) -> Rows:
        """Begin a turn, and claim its thread in the same flight if nothing is on record of that yet.

        Returns the rows of `beginning`, which makes `owner` and `token` those of the job's turn.
        """
        store, claims = self._journal.store, self._claims
        if store.has_file:  # `take` does it in place
            return await store.aexecute(*beginning)
        claim = Claim(claims.owner.new_name())
        wish, now = Wish(thread_id, claim.owner), self._journal.dialect.now
        taking = taking_with_turn(wish, (owner, token), claims.owner.row(), claims.lifetime_s, now)
        try:
            rows, taken = await store.aexecute_all(beginning, taking)
        except (asyncio.CancelledError, StoreError):
            self._journal.add_later(ending(wish))
            raise
        if taken:
            claim.epoch = taken[0]["epoch"]
            claims.hold(thread_id, claim)
            claims.ahead[thread_id] = owner
        return rows

    async def take(self, thread_id: str, turn: str) -> bool:
        """Claim a thread unless that is done, and tell whether it is new; one that is not is left again.

        Raises ThreadBusy and ClaimLost as `Claims.acquire` does.
        """
        claims, journal = self._claims, self._journal
        if claims.is_ahead(thread_id, turn):
            return True
        await journal.until_free()
        in_place = journal.store.has_file and not journal.has_to_wait()
        is_new = claims.acquire(thread_id, turn) if in_place else await claims.aacquire(thread_id, turn)
        if is_new:
            claims.ahead[thread_id] = worker_of(turn)
        else:
            claims.release(thread_id, at_once=False)
        return is_new

    async def is_held(self, thread_id: str) -> bool:
        """Tell whether a thread is run here under a claim that is still on record."""
        epoch = self._claims.epoch_of(thread_id)
        sql = "SELECT 1 FROM claims WHERE thread_id = ? AND epoch = ? AND expires_at > 0"
        return epoch is not None and bool(await self._journal.aquery(sql, (thread_id, epoch)))

    def give_up(self, thread_id: str, owner: str) -> None:
        """Release a worker's claim that no run has taken over."""
        if self._claims.ahead.get(thread_id) == owner:
            self._claims.release(thread_id, at_once=False)
