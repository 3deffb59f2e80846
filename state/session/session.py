"""A session: one database that holds the checkpoints and the journal of many threads."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, Self
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph

from ..budget import Budget, Budgets, Ledger, ThreadBudgets, read_budgets
from ..cost import Cost
from ..database import PostgresAddress
from ..errors import InputError, StoreError
from ..journal.claims import Claims
from ..journal.effects import EffectRecord, decide_effect, open_effects
from ..journal.journal import Journal
from ..journal.records import Description, bindable
from ..journal.reservations import Reservations
from ..journal.spending import NEW_THREAD, Terms
from ..journal.sqlite import unhindered
from ..masking import Masker
from ..names import (
    BUDGET,
    CACHE_KEY,
    GRAPH_KEY,
    LANE_KEY,
    LEDGERS_KEY,
    RESTART,
    RESTART_KEY,
    SESSION_KEY,
    STARTER_KEY,
    TERMS_KEY,
    TURN_KEY,
    UNTOUCHED_KEY,
)
from ..serde import allow as declare
from ..statuses import Lane, known_lane
from .budget_rules import budget_rules, changed_budgets, rule_budgets, scopes_of
from .fingerprint import GraphMark
from .foreign_calls import CallObserver
from .internals import CONFIG_KEY_CHECKPOINTER, CONFIG_KEY_DURABILITY
from .migrating import migrate
from .opening import checkpointer_of
from .recorder import Recorder
from .shared_ledger import SharedLedger

MAX_ID = 500


class Tracer(Protocol):
    """What sends a session's traces elsewhere; see tracing/export/live.py."""

    @property
    def labels(self) -> Mapping[str, str]:
        """What to put on record with each invocation: environment and version."""
        ...

    @property
    def stored_mask(self) -> Masker:
        """What replaces keys and personal data in what is kept for readers."""
        ...

    def attach(self, session: Session) -> None:
        """Begin to send, without delay for anyone."""
        ...

    def close(self) -> None:
        """Send what can be sent within a moment; the rest waits in the file."""
        ...


class Session:
    """Records what a graph does in one database: pass `session.config(thread_id)` to any LangGraph call.

    That is a SQLite file, which is created if it does not exist, or one of Postgres that several machines
    share: postgresql://user:password@host:port/name (`stepgraph[postgres]`). `allow` lists types that
    checkpoints may load, beyond those that steps and patterns declare. `tracing`, such as a `Tracing()`, also
    sends the traces to Langfuse or elsewhere. `models` answer in all of the session's runs, in whatever
    thread or task: a dict of roles, or one for every role, of what `using` takes. `clock` tells waits and
    deadlines what time it is, in tests: a function that returns a datetime with its zone. A process that was
    not heard of for `heartbeat_s` seconds (6 without it) counts as dead: another one may take its threads
    over. Raises StoreError if the database cannot be used.

        with Session("runs.sqlite") as session:
            app.invoke(Post("tea"), session.config("post-1"))
    """

    def __init__(
        self,
        path: str | Path | PostgresAddress = "stepgraph.sqlite",
        *,
        allow: Iterable[Any] = (),
        tracing: Tracer | None = None,
        models: Any = None,
        clock: Callable[[], datetime] | None = None,
        heartbeat_s: float | None = None,
    ) -> None:
        if str(path) in ("", ":memory:") or str(path).startswith("file:"):
            raise StoreError(
                f"Session({str(path)!r}): a session is kept in a file, so that a resume finds it. Name one; "
                "for a trial, one in a temporary folder: tempfile.TemporaryDirectory()."
            )
        self._tracer = tracing
        self.models = models
        self._clock = clock
        self.sends_to_langfuse = False  # its tracing does, so Langfuse's own handler need not
        declare(*allow)
        self.journal = Journal(path)
        self.reservations = Reservations(self.journal)
        try:
            self.claims = Claims(self.journal, heartbeat_s)
            self.checkpointer = checkpointer_of(self.journal.store)
        except BaseException:
            self.journal.close()
            raise
        self.checkpointer.session = self
        if tracing is not None:
            self.journal.mask = tracing.stored_mask
            tracing.attach(self)

    @property
    def database(self) -> Path | PostgresAddress:
        """Where its runs are kept; as text, without a password."""
        return self.journal.database

    @property
    def path(self) -> Path:
        """The file of a session that is kept in one. Raises StoreError for another one."""
        if not isinstance(self.database, Path):
            raise StoreError(f"The session of {self.database} is not kept in a file.")
        return self.journal.store.file

    def config(
        self,
        thread_id: object = None,
        *,
        budget: Budgets | None = None,
        cache_s: float | None = None,
        lane: Lane | None = None,
        graph: CompiledStateGraph[Any, Any, Any, Any] | None = None,
        allow_changed_graph: bool = False,
        restart: bool = False,
        description: Description | None = None,
        user: str | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        checkpointer: BaseCheckpointSaver[Any] | None = None,
        **configurable: Any,
    ) -> RunnableConfig:
        """Return the config that makes a LangGraph call keep its thread here.

        Without a `thread_id` a new thread begins; an id that is a number, a UUID or the like counts as its
        text. `budget` limits the thread as a whole, what it spent
        before included; a resume without one goes on under the limits it had, `Budget()` lifts them. Budgets
        with a scope, which threads share, may stand beside it: `budget=[Budget(calls=50), Budget(usd=5,
        scope="user:ada", per="day")]`. One of them takes the place of the thread's earlier one for that scope
        and period, and lifts it if it has no limit. What the settings say in `[budgets]` holds too.
        `cache_s` lets answers of other runs serve that are at most so many seconds old. `lane` "batch" makes
        the calls through the providers' batch APIs, at half the price, within a day; the thread stays in its
        lane until it is given another one.

        A thread goes on only with a graph of the same shape: else it raises GraphChanged, unless
        `allow_changed_graph`. Patterns tell their shape themselves; for a hand-written graph, pass it as
        `graph`. A thread that has not ended goes on when it is given the input that it began with, as by a
        queue that delivers a job again; `restart` begins anew, and pays anew. `user`, `tags` and `metadata`
        go on record, and into the trace. `checkpointer` keeps the checkpoints in the session's place.
        `description` goes on record when the run begins; `stepgraph resume` goes by it. Further keywords go
        into `configurable`.
        """
        unhindered(budget_rules)  # reads the settings; a node may change the working folder
        thread = new_thread_id() if thread_id is None else text_of_id(thread_id)
        terms: Terms | None = configurable.pop(TERMS_KEY, None)  # else they are read, in the caller's way
        is_read_after = terms is not None  # then the caller is `arun` or the like
        if terms is None:
            terms = NEW_THREAD if thread_id is None else self.journal.terms_of(thread)
        lane = terms.lane if lane is None else known_lane(lane)
        labels, about = list(tags), dict(metadata or {})
        scopes = scopes_of(
            user=user, graph=None if graph is None else graph.get_name(), tags=labels, metadata=about
        )
        budgets, budget_json = changed_budgets(terms.budget, budget, scopes)
        ledgers = self.ledgers(thread, budgets, terms)
        recorder = Recorder(
            self.journal,
            self.claims,
            thread,
            labels=self.labels,
            ledgers=ledgers,
            budgets=budget_json,
            description=description,
            allow_changed_graph=allow_changed_graph,
            restart=restart,
            lane=lane,
            can_wait=checkpointer is None,
            is_untouched=bool(configurable.get(UNTOUCHED_KEY)),
            is_read_after=is_read_after,
            turn=configurable.get(TURN_KEY),
            migrate=None if checkpointer else lambda graph: migrate(self, graph, thread, claimed=True),
        )
        config: RunnableConfig = {
            "configurable": {
                "thread_id": thread,
                "checkpoint_ns": "",
                CONFIG_KEY_CHECKPOINTER: checkpointer or self.checkpointer,
                # A call is found again by its task, which takes its id from the checkpoint before it.
                CONFIG_KEY_DURABILITY: "sync",
                SESSION_KEY: self,
                CACHE_KEY: cache_s,
                RESTART_KEY: restart,
                LANE_KEY: lane,
                STARTER_KEY: recorder,
                **configurable,
            },
            "callbacks": [recorder, CallObserver(self.journal, thread)],
        }
        if labels:
            config["tags"] = labels
        if about:
            config["metadata"] = about
        if user is not None:
            config.setdefault("metadata", {})["user_id"] = user
            config["configurable"]["user"] = user
        if graph is not None:
            config.setdefault("metadata", {})[GRAPH_KEY] = GraphMark.of(graph)
            declare(*graph.builder.schemas)
        if ledgers:
            config["configurable"][LEDGERS_KEY] = ledgers
        if budgets.own is not None and budgets.own.supersteps is not None:
            config["recursion_limit"] = budgets.own.supersteps
        return config

    def joined(
        self,
        config: RunnableConfig,
        *,
        checkpointer: BaseCheckpointSaver[Any] | None = None,
        budget: Budgets | None = None,
        graph: CompiledStateGraph[Any, Any, Any, Any] | None = None,
    ) -> RunnableConfig:
        """Return a config, made elsewhere, under which its thread is kept here too.

        `checkpointer` is who keeps its checkpoints, if that is not this session. `budget` holds for a thread
        that has none yet, and is given none in the config.
        """
        configurable = config.get("configurable", {})
        thread = text_of_id(str(configurable["thread_id"]))
        own = configurable.get(BUDGET)
        if own is not None:
            budget = read_budgets(own, f"configurable {BUDGET!r}")
        elif self.journal.budget_of(thread) is not None:
            budget = None
        joined = self.config(
            thread,
            budget=budget,
            graph=graph,
            restart=bool(configurable.get(RESTART)),
            checkpointer=checkpointer,
            user=(config.get("metadata") or {}).get("user_id"),
            tags=config.get("tags") or (),
            metadata=config.get("metadata"),
        )
        return merge_configs(joined, config, {"configurable": {"thread_id": thread}})

    def budgets_for(
        self, thread_id: str, new_budgets: Budgets | None, scopes: Iterable[str]
    ) -> tuple[ThreadBudgets, str | None]:
        """Return the budgets of a thread with those that are given now, and what is new of that on record.

        `scopes` are those of the run, for the budgets that the settings have.
        """
        return changed_budgets(self.journal.budget_of(thread_id), new_budgets, scopes)

    def ledgers(
        self, thread_id: str, budgets: ThreadBudgets, terms: Terms | None = None
    ) -> tuple[Ledger, ...]:
        """Return what counts a thread's spending against its budgets; `terms`, if what it had was read."""
        ledgers: list[Ledger] = [self.shared_ledger(each) for each in rule_budgets(budgets.ruled)]
        ledgers += [self.shared_ledger(each) for each in budgets.shared]
        if budgets.own is not None:
            spent, ran_s = (None, None) if terms is None else (terms.spent, terms.ran_s)
            spent = self.journal.spent(thread_id) if spent is None else spent
            ran_s = self.ran_s(thread_id) if ran_s is None else ran_s
            ledgers.append(Ledger(budgets.own, spent, ran_s=ran_s))
        return tuple(ledgers)

    def shared_ledger(self, budget: Budget) -> SharedLedger:
        """Return the ledger of a budget that threads of this session's database share."""
        now = None if self._clock is None else lambda: self.now().timestamp()
        return SharedLedger(budget, self.reservations, now)

    @property
    def labels(self) -> Mapping[str, str]:
        """What its tracing puts on record with each invocation."""
        return {} if self._tracer is None else self._tracer.labels

    def now(self) -> datetime:
        """Return what time it is, with its zone: by the session's clock, if it has one of its own."""
        if self._clock is None:
            return datetime.now(UTC)
        now = self._clock()
        if now.utcoffset() is None:
            raise InputError(
                "Session(clock=…) returned a time without a zone. Return one with it: datetime.now(UTC)."
            )
        return now

    def spent(self, thread_id: str, task: str | None = None) -> Cost:
        """Return what a thread's calls, or those below one node execution, have cost."""
        return self.journal.spent(thread_id, task)

    def ran_s(self, thread_id: str, task: str | None = None) -> float:
        """Return the seconds in which a thread's nodes ran, or what is below one node execution."""
        return self.journal.ran_s(thread_id, task)

    def budget_of(self, thread_id: str) -> Budget | None:
        """Return the limits that a thread has of its own, if it has any."""
        return ThreadBudgets.from_json(self.journal.budget_of(thread_id)).own

    def decide_effect(
        self,
        key: str,
        *,
        happened: bool,
        update: Mapping[str, Any] | None = None,
        by: str | None = None,
        change: bool = False,
        started_at: float | None = None,
    ) -> EffectRecord:
        """Decide whether a side effect happened, after an EffectUnknown.

        If it happened, its thread goes on with `update`, as plain data, in the place of what its node
        would have written. If not, it runs again. `by` says who decides. With `started_at`, from the
        effect's record, the decision holds for that start of it only. Raises InputError for an effect that
        ended by itself, and for one that is decided already, unless this is to `change` that.
        """
        return decide_effect(
            self.journal,
            key,
            happened=happened,
            update=update,
            by=by,
            change=change,
            started_at=started_at,
        )

    def undecided_effects(self) -> list[EffectRecord]:
        """Return the side effects that started and did not end: open ones, and those under way."""
        return open_effects(self.journal)

    def close(self) -> None:
        """Write what is still in memory and close the database."""
        self.claims.close()
        self.reservations.close()
        if self._tracer is not None:
            self.journal.flush()
            self._tracer.close()
        self.journal.close()
        self.checkpointer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


def text_of_id(thread_id: object) -> str:
    """Return a thread's id as text. Raises InputError for what is none, or cannot be kept as it is."""
    if isinstance(thread_id, Enum):
        thread_id = thread_id.value
    if isinstance(thread_id, bool) or not isinstance(thread_id, (str, int, UUID)):
        raise InputError(f"A thread's id is a text, an integer or a UUID, not {type(thread_id).__name__}.")
    text = str(thread_id)
    if not text.strip():
        raise InputError("A thread's id may not be empty. Leave it out, and a new thread begins.")
    if len(text) > MAX_ID:
        raise InputError(f"A thread's id has at most {MAX_ID} characters, not {len(text):,}: {text:.40}…")
    if "\0" in text or bindable(text) != text:
        raise InputError(f"The thread's id {text!r} holds a character that no file can keep.")
    return text


def new_thread_id(prefix: str = "thread") -> str:
    """Return a thread id that nobody else has, though millions of threads share one database."""
    return f"{prefix}-{secrets.token_hex(8)}"
