"""Everything that happens around a call, put together: for one model, and for a chain of them.

From the outside in, each layer with the reason why it stands where it stands:

    ModelStack            the whole: what a role is bound to
    SampleLayer           outside the journal, because a vote's sample number is part of what it looks up
    ReplayStreamingLayer  around all that answers without a model, to stream such answers too
    ReplayLayer           before anything that waits or costs; sets `key`, by which the others find the call
    RecordedLayer         needs `key`; outside the sharing, because each call of a replay has its own answer
    CoalescingLayer       needs `key`; around the whole chain, so that one outcome serves all equal calls
    FallbackChain         needs `key` to find the answers that were rejected before a crash
    LaneLayer             sends the calls of a run in the batch lane another way: without queues and retries
    RetryLayer            sets `attempt`; each attempt passes all that is inside anew
    PrefixLayer           sets `sink`; inside the retries: who fails leads no more; its waiting is no hedge's
    HedgingLayer          outside budget and journal, because both of its calls are paid for and on record
    CircuitBreakerLayer   before a budget reserves; outside the refusals, because a model that refuses works
    RefusalLayer          outside the journal, because a refused answer is paid for before it is rejected
    BudgetLayer           sets `reserved`, `outcome`; outside the queues: what cannot fit never waits
    ConcurrencyLayer      outside the rate limit, so that only a call that can run takes a turn there
    RateLimitLayer        the last wait for the endpoint: inside is the time of the call alone
    SharedBudgetLayer     needs `outcome`; inside the queues: what it sets aside counts as spent after a kill
    JournalLayer          needs `key`, `attempt`, `reason`, `reserved`, `outcome`: they go on record
    PricingLayer          inside the journal, which commits the cost together with the answer
    StreamingLayer        adds to `sink`; inside the attempts, because each is a run of its own for tracers
    ToolEmulationLayer    inside the streaming, which ends with the tool call that was read, not with its JSON
    RedactionLayer        right around the backend: nobody inside the process hears a key that a server echoes
    Backend               needs `sink`, to stream into
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..backends.backend import Backend
from ..backends.endpoint import Endpoint
from ..backends.langchain_endpoint import LangChainEndpoint
from ..backends.ondevice import OnDevice
from ..backends.refused_params import RefusedParams
from ..keys import is_asking_nobody
from ..model import Layer, Model
from ..provider_table import LOCAL
from ..settings import ALWAYS, Binding, ChainSettings, ModelSettings, Trigger
from .adaptive_limit import START, AdaptiveLimit
from .budgeting import BudgetLayer, SharedBudgetLayer
from .circuit_breaker import CircuitBreaker, CircuitBreakerLayer
from .coalescing import CoalescingLayer
from .concurrency import CEILING, Capacity, ConcurrencyLayer
from .fallbacks import FallbackChain, RefusalLayer, refusal_in
from .hedging import HedgingLayer
from .journal import JournalLayer, ReplayLayer
from .lane import BatchModel, CollectedLayer, LaneLayer
from .prefix import Prefixes, PrefixLayer
from .pricing import PricingLayer, batch_tariff_for, tariff_for
from .rate_limit import RateLimiter, RateLimitLayer
from .recorded import RecordedLayer
from .redaction import RedactionLayer
from .retry import RetryLayer
from .samples import SampleLayer
from .shared_limits import Sharing
from .streaming import ReplayStreamingLayer, StreamingLayer
from .tool_emulation import ToolEmulationLayer

EndpointKey = tuple[str, str]


GIVEN_PROVIDER = "given"  # the provider of a model that is an object of the user's own


@dataclass(frozen=True)
class Member:
    """A backend, and the settings under which a stack asks it."""

    backend: Backend
    settings: ModelSettings

    @property
    def identity(self) -> str:
        """What makes two models give different answers to one request; never a key."""
        set_here = {"structured", "temperature", "max_tokens", "capabilities", "organization"}
        own = self.settings.model_dump(include=set_here, exclude_none=True) | self.settings.dials()
        if self.settings.params:
            own["params"] = dict(self.settings.params)
        if self.settings.headers:
            own["headers"] = dict(self.settings.headers)  # as they are written: no value of the environment
        parts = (self.backend.name, self.backend.address, str(own or ""))
        return " ".join(parts if not self.backend.variant else (*parts, self.backend.variant)).rstrip()

    @property
    def provider(self) -> str | None:
        """Who answers, by LangChain's name for it; None where nobody says it."""
        named = self.settings.provider
        return named if named not in (None, GIVEN_PROVIDER) else self.backend.provider or None

    @property
    def endpoint(self) -> EndpointKey | None:
        return (self.backend.address, self.backend.name) if self.backend.address else None


class ModelStack(Layer):
    """A full stack: `members` are the backends at its bottom, asked in turn.

    One request is answered, and paid for, `most_answers` times at most.
    """

    def __init__(self, inner: Model, members: Sequence[Member], most_answers: int = 1) -> None:
        super().__init__(inner)
        self.members = tuple(members)
        self.most_answers = most_answers


def stacked(
    *members: Member, on: Sequence[Trigger] = ALWAYS, min_confidence: float | None = None
) -> ModelStack:
    """Return the stack that asks these members in turn."""
    last = len(members) - 1
    models = [_around_attempts(member, last=n == last) for n, member in enumerate(members)]
    chain = FallbackChain(models, on, min_confidence) if last else None
    identity = " | ".join(member.identity for member in members)
    if chain is not None:
        identity += f" {sorted(on)} {min_confidence}"
    doubt = chain.doubt if chain else refusal_in
    recorded = RecordedLayer(CoalescingLayer(chain or models[0]), doubt)
    replay = ReplayLayer(recorded, identity, doubt)
    return ModelStack(SampleLayer(ReplayStreamingLayer(replay)), members, chain.most_answers if chain else 1)


def _around_attempts(member: Member, *, last: bool) -> Model:
    """Wrap a backend in what happens around each attempt, and around all attempts at it."""
    backend, settings = member.backend, member.settings
    tariff = tariff_for(settings, backend.name, backend.address)
    model: Model = RedactionLayer(backend)
    if backend.tools == "emulated":
        model = ToolEmulationLayer(model)
    if not backend.emits_tokens:
        model = StreamingLayer(model)
    model = JournalLayer(
        PricingLayer(model, tariff, machine=backend.address), settings.dials(), member.provider
    )
    model = SharedBudgetLayer(model)
    sharing = _sharing(member)
    limiter = _rate_limiter(member)
    model = RateLimitLayer(
        model, limiter, settings.max_tokens, settings.queue_s, patient=last, sharing=sharing
    )
    ceiling = settings.max_concurrency or CEILING
    model = ConcurrencyLayer(model, ceiling, settings.queue_s, _capacity(member), sharing)
    model = RefusalLayer(BudgetLayer(model, tariff, settings, backend))
    if member.endpoint is not None:
        model = CircuitBreakerLayer(model, _circuit_breaker(member.endpoint, settings))
    if settings.hedge_after_s is not None:
        model = HedgingLayer(model, settings.hedge_after_s)
    model = PrefixLayer(model, _prefixes(member), backend)
    model = RetryLayer(model, settings.retries, for_s=settings.retry_for_s, patient=last)
    return LaneLayer(model, _in_batches(member), settings)


def _in_batches(member: Member) -> Model | None:
    """Wrap a model's batch API in what happens around a call in a batch; None if it has none."""
    backend, settings = member.backend, member.settings
    terms = settings.batch_terms
    if terms is None:
        return None
    tariff = batch_tariff_for(settings, backend.name, backend.address)
    model: Model = BatchModel(backend.name, settings, terms)
    model = StreamingLayer(ToolEmulationLayer(model) if backend.tools == "emulated" else model)
    model = JournalLayer(PricingLayer(model, tariff), settings.dials(), member.provider)
    model = SharedBudgetLayer(model, outlives=True)
    return RefusalLayer(BudgetLayer(CollectedLayer(model), tariff, settings, backend))


def from_settings(settings: Binding) -> ModelStack:
    """Return the full stack for settings; equal settings share one, but for one that has no key."""
    return _build(settings) if is_asking_nobody() else _shared_stack(settings)


@lru_cache(maxsize=256)
def _shared_stack(settings: Binding) -> ModelStack:
    return _build(settings)


def _build(settings: Binding) -> ModelStack:
    if isinstance(settings, ChainSettings):
        members = [member_of(member) for member in settings.models]
        return stacked(*members, on=settings.on, min_confidence=settings.min_confidence)
    return stacked(member_of(settings))


def member_of(settings: ModelSettings) -> Member:
    """Return the backend that settings describe, with the settings that it is used under."""
    if settings.provider == LOCAL:
        path = Path(settings.model) if settings.model else None
        local = settings.model_copy(update={"max_concurrency": 1})
        return Member(OnDevice(path, local), local)
    return Member(LangChainEndpoint(settings) if settings.by_langchain else Endpoint(settings), settings)


# Circuit breakers, limits and caches belong to an endpoint, not to one of the roles bound to it.
_shared = threading.Lock()
_circuit_breakers: dict[tuple[EndpointKey, int, float], CircuitBreaker] = {}
_rate_limiters: dict[tuple[EndpointKey, float | None, float | None, int], RateLimiter] = {}
_prefixes_by_endpoint: dict[EndpointKey, Prefixes] = {}
_capacities: dict[EndpointKey, Capacity] = {}


def _circuit_breaker(endpoint: EndpointKey, settings: ModelSettings) -> CircuitBreaker:
    key = (endpoint, settings.pause_after, settings.pause_s)
    with _shared:
        return _circuit_breakers.setdefault(key, CircuitBreaker(settings.pause_after, settings.pause_s))


def _rate_limiter(member: Member) -> RateLimiter:
    settings = member.settings
    limits = (settings.requests_per_minute, settings.tokens_per_minute, settings.burst)
    if member.endpoint is None:
        return RateLimiter(*limits)
    with _shared:
        return _rate_limiters.setdefault((member.endpoint, *limits), RateLimiter(*limits))


def _sharing(member: Member) -> Sharing:
    """Return which limits of a model are shared by all workers of a database."""
    settings = member.settings
    limits = (settings.requests_per_minute, settings.tokens_per_minute, settings.burst)
    return Sharing(member.endpoint, limits, settings.max_concurrency, settings.shared)


def _prefixes(member: Member) -> Prefixes:
    if member.endpoint is None:
        return Prefixes()
    with _shared:
        return _prefixes_by_endpoint.setdefault(member.endpoint, Prefixes())


def _capacity(member: Member) -> Capacity:
    """Return what the endpoint takes; who sets how many calls it may be expects it to take so many."""
    start = member.settings.max_concurrency or START
    if member.endpoint is None:
        return Capacity(AdaptiveLimit(start))
    with _shared:
        capacity = _capacities.setdefault(member.endpoint, Capacity(AdaptiveLimit(start)))
    capacity.expect(start)
    return capacity


def forget_endpoints() -> None:
    """Forget all that is known of endpoints: breakers, limits, caches, refused parameters, clients."""
    with _shared:
        _circuit_breakers.clear()
        _rate_limiters.clear()
        _prefixes_by_endpoint.clear()
        _capacities.clear()
    RefusedParams.forget()
    _shared_stack.cache_clear()
