"""In a replay, a call is answered by the recorded run's answer to an equal one, at no cost."""

from __future__ import annotations

from collections.abc import Callable

from ...state.journal.records import Call
from ...state.session.shared_ledger import own
from ...tracing.forks.recorded import recorded_run
from ..model import CallContext, Layer, Model, Reply, Request
from .journal import reply_of, share


class RecordedLayer(Layer):
    """Answers what the recorded run was answered; what it was not asked goes on to the model.

    `doubt` says why an answer that was rejected will not do here either. The budgets of the recorded run are
    charged as they were there.
    """

    def __init__(self, inner: Model, doubt: Callable[[Call, CallContext], str | None]) -> None:
        super().__init__(inner)
        self._doubt = doubt

    async def complete(self, request: Request, context: CallContext) -> Reply:
        key = context.key
        recorded = None if key is None else recorded_run(context.run)
        if recorded is None or key is None:
            return await self.inner.complete(request, context)
        ledgers = [ledger for ledger in own(context.run.ledgers) if ledger.scope != recorded.scope]
        match = await recorded.call(key.request_hash, context.path, key.occurrence)
        if match is None or (match[0].rejected and self._doubt(match[1], context) is not None):
            await recorded.charge(ledgers)
            await recorded.let_others_go_first()
            return await self.inner.complete(request, context)
        await recorded.charge(ledgers, match[0])
        reason = f"answered in {recorded.origin}"
        return await share(self.name, request, context, reply_of(match[1]), "copied", reason)
