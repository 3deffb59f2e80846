"""A replay: a run that is told what another one was told, as long as it asks the same."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from ...state.budget import Ledger
from ...state.cost import NOTHING
from ...state.event_loops import in_thread
from ...state.journal.journal import Journal
from ...state.journal.records import Call
from ...state.journal.waits import WaitRecord
from ...state.json_text import object_in, state_json
from ...state.names import REPLAYS
from ...state.run_context import RunContext
from ...state.session.session import Session
from ..record.recorded_run import (
    RecordedCall,
    ToolResult,
    aread_call,
    canonical,
    origin_of,
    read_effects_at,
    read_origins,
    read_passages,
    read_recorded_calls,
    read_tool_results,
    read_waits,
    spent_on,
)
from ..record.spans import Row

T = TypeVar("T")

QUIET_S: Final = 0.1
MOST_S: Final = 2.0
SCOPE: Final = "the replay"  # of the budget for what a replay pays anew


class RecordedRun:
    """What one recorded run was told, given to the replay of it: each answer once, in the recorded order.

    `effects` are those that may happen in the replay, by their names; `tools` says whether tools may run.
    What a replay took before it was stopped is not given again.
    """

    def __init__(
        self,
        session: Session,
        thread_id: str,
        origin: str,
        *,
        effects: Collection[str] = (),
        tools: bool = False,
    ) -> None:
        self.origin = origin
        self.tools = tools
        self.scope = SCOPE
        self._session = session
        self._thread = thread_id
        self._effects = frozenset(effects)
        self._lock = threading.Lock()
        self._loaded = False
        self._calls: list[RecordedCall] = []
        self._taken_before: list[RecordedCall] = []
        self._tools: list[ToolResult] = []
        self._passages: list[Row] = []
        self._waits: list[WaitRecord] = []
        self._last = 0.0  # when an answer was taken, by the event loop's clock
        self._charged: WeakSet[Ledger] = WeakSet()

    def allows(self, effect: str) -> bool:
        """Tell whether an effect may happen."""
        return effect in self._effects

    async def call(self, request_hash: str, path: str, occurrence: int) -> tuple[RecordedCall, Call] | None:
        """Return the recorded answer to an equal request, if one is left: the one in the same place first."""
        await self._load()
        with self._lock:
            equal = [call for call in self._calls if call.request_hash == request_hash]
            if not equal:
                return None
            nearest = min(equal, key=lambda call: (call.path != path, call.occurrence != occurrence))
            self._calls.remove(nearest)
        self._last = asyncio.get_running_loop().time()
        call = await aread_call(self._session.journal, nearest.id)
        return None if call is None else (nearest, call)

    async def let_others_go_first(self) -> None:
        """Wait until the answers that are on record have arrived, before something new is asked.

        A vote that they decide, or a guard, calls off what stands beside them, as it did in the recorded run.
        """
        loop = asyncio.get_running_loop()
        most = loop.time() + MOST_S
        self._last = loop.time()
        while (left := min(most, self._last + QUIET_S) - loop.time()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)

    async def charge(self, ledgers: Iterable[Ledger], call: RecordedCall | None = None) -> None:
        """Count a recorded answer in the budgets that the recorded run had, as it counted there.

        So the replay of a run that its budget ended stops where that one did.
        """
        await self._load()
        for ledger in ledgers:
            if ledger not in self._charged:
                self._charged.add(ledger)
                if ledger.scope == "the run":
                    ledger.settle(NOTHING, spent_on(self._taken_before))
            if call is not None:
                ledger.settle(NOTHING, call.cost)

    async def tool(self, path: str, name: str, arguments: str) -> ToolResult | None:
        """Return what an equal tool call brought, if one is left: arguments are JSON."""
        await self._load()
        wanted = canonical(arguments)
        return self._take(
            self._tools,
            lambda result: (result.name, result.arguments) == (name, wanted),
            lambda result: result.path != path,
        )

    async def passages(self, path: str, step: str, request_hash: str) -> Row | None:
        """Return the record of an equal retrieval, if one is left."""
        await self._load()
        return self._take(
            self._passages,
            lambda row: (row["step"], row["request_hash"]) == (step, request_hash),
            lambda row: row["path"] != path,
        )

    async def wait(self, path: str, name: str) -> WaitRecord | None:
        """Return the record of a wait in the same place that is over, if one is left."""
        await self._load()
        here = [part.partition(":")[0] for part in path.split("/")]
        return self._take(
            self._waits,
            lambda wait: (
                (wait.name, [part.partition(":")[0] for part in wait.task.split("|")]) == (name, here)
            ),
        )

    async def effect_key(self, path: str, state: Any) -> str | None:
        """Return the key of the effect in the same place that had the same input, as far as both have it.

        A key that is made of the whole state is another one where the state has a new field.
        """
        mine = object_in(self._session.journal.mask.json(state_json(state)))
        rows = await in_thread(read_effects_at, self._session.journal, self.origin, path)
        for row in rows:
            theirs = object_in(row["input"])
            both = mine.keys() & theirs.keys()
            if both and all(mine[name] == theirs[name] for name in both):
                return str(row["key"])
        return None

    def _take(
        self,
        left: list[T],
        fits: Callable[[T], bool],
        later: Callable[[T], bool] = lambda _: False,
    ) -> T | None:
        with self._lock:
            fitting = sorted((each for each in left if fits(each)), key=later)
            if not fitting:
                return None
            left.remove(fitting[0])
            return fitting[0]

    async def _load(self) -> None:
        if not self._loaded:
            await in_thread(self._read)

    def _read(self) -> None:
        with self._lock:
            if self._loaded:
                return
            session, journal = self._session, self._session.journal
            journal.flush()
            origins = set(read_origins(journal, self._thread))
            calls = read_recorded_calls(journal, self.origin)
            self._calls = [call for call in calls if call.id not in origins]
            self._taken_before = [call for call in calls if call.id in origins]
            mine = read_tool_results(session, self._thread)
            self._tools = _without(
                read_tool_results(session, self.origin), mine, lambda result: (result.name, result.arguments)
            )
            self._passages = _without(
                read_passages(journal, self.origin),
                read_passages(journal, self._thread),
                lambda row: (row["step"], row["request_hash"]),
            )
            self._waits = _without(
                read_waits(journal, self.origin),
                read_waits(journal, self._thread),
                lambda wait: (wait.name, wait.kind),
            )
            self._loaded = True


def _without(rows: Sequence[T], taken: Iterable[T], key: Callable[[T], Any]) -> list[T]:
    """Return the rows but for those that were taken, of equal ones the first."""
    gone = Counter(map(key, taken))
    left = []
    for row in rows:
        if gone[key(row)]:
            gone[key(row)] -= 1
        else:
            left.append(row)
    return left


_runs: WeakKeyDictionary[Journal, dict[str, RecordedRun]] = WeakKeyDictionary()


def recorded_run(here: RunContext) -> RecordedRun | None:
    """Return what a run is told where it is a replay, None for all others.

    A thread that a replay began stays one, whoever goes on with it: then nothing happens that is not on
    record.
    """
    run: RecordedRun | None = here.recorded
    if run is not None or not here.thread_id.startswith(REPLAYS) or here.session is None:
        return run
    known = _runs.setdefault(here.session.journal, {})
    if here.thread_id not in known:
        origin = origin_of(here.session.journal, here.thread_id)
        if origin is None:
            return None
        known[here.thread_id] = RecordedRun(here.session, here.thread_id, origin)
    return known[here.thread_id]
