"""All that happens around a call, put together: for one model, and for a chain of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from ..backends.endpoint import Endpoint
from ..backends.ondevice import OnDevice
from ..model import Model
from ..settings import ALWAYS, LOCAL, Binding, ChainSettings, ModelSettings, Trigger
from .budgeting import Budgeted
from .circuit_breaker import CircuitBreaker, CircuitBroken
from .coalescing import Coalesced
from .concurrency import ConcurrencyLimited
from .fallbacks import Fallback, RefusalDetector, screened
from .hedging import Hedged
from .journal import Journaled, Replayed
from .pricing import Priced, tariff_for
from .rate_limit import RateLimited, RateLimiter
from .retry import Retried
from .samples import SampleScope
from .streaming import ReplayStreamer, TokenStreamed
from .tool_emulation import with_tools

Member = tuple[Model, ModelSettings]


def stacked(*members: Member, on: Sequence[Trigger] = ALWAYS, min_confidence: float | None = None) -> Model:
    """Return the model that asks these in turn, wrapped in all that happens around a call."""
    last = len(members) - 1
    tried = [_tried(model, settings, last=n == last) for n, (model, settings) in enumerate(members)]
    chain = Fallback(tried, on, min_confidence) if last else None
    identity = " | ".join(_identity(model, settings) for model, settings in members)
    if len(tried) > 1:
        identity += f" {sorted(on)} {min_confidence}"
    doubt = chain.doubt if chain else screened
    replayed = Replayed(Coalesced(chain or tried[0]), identity, doubt)
    return SampleScope(ReplayStreamer(replayed), members, chain.most_answers if chain else 1)


def _tried(model: Model, settings: ModelSettings, *, last: bool) -> Model:
    """Wrap a model in what happens around each attempt, and around all attempts at it."""
    tariff = tariff_for(settings, model)
    able = with_tools(model)
    told = able if getattr(model, "tells", False) else TokenStreamed(able)
    recorded = Journaled(Priced(told, tariff))
    paced = RateLimited(recorded, _line(model, settings), settings.max_tokens, settings.queue_s, patient=last)
    capped = ConcurrencyLimited(paced, settings.max_concurrency, settings.queue_s)
    attempt: Model = RefusalDetector(Budgeted(capped, tariff, settings.max_tokens))
    place = _place(model)
    if place is not None:
        attempt = CircuitBroken(attempt, _breaker(place, settings))
    if settings.hedge_after_s is not None:
        attempt = Hedged(attempt, settings.hedge_after_s)
    return Retried(attempt, settings.retries, for_s=settings.retry_for_s, patient=last)


def _identity(model: Model, settings: ModelSettings) -> str:
    """Return what makes two models give different answers to one request; never a key."""
    own = settings.model_dump(include={"structured", "temperature", "max_tokens"}, exclude_none=True)
    return f"{model.name} {getattr(model, 'address', '')} {own or ''}".rstrip()


@lru_cache(maxsize=256)
def from_settings(settings: Binding) -> Model:
    """Return the full stack for settings; equal settings share one."""
    if isinstance(settings, ChainSettings):
        members = [member_of(member) for member in settings.models]
        return stacked(*members, on=settings.on, min_confidence=settings.min_confidence)
    return stacked(member_of(settings))


def member_of(settings: ModelSettings) -> Member:
    """Return the bare model that settings describe, and the settings that go with it."""
    if settings.provider == LOCAL:
        path = Path(settings.model) if settings.model else None
        local = settings.model_copy(update={"max_concurrency": 1})
        return OnDevice(path, local), local
    return Endpoint(settings), settings


# Breakers and lines belong to an endpoint, not to one of the roles that are bound to it.
EndpointKey = tuple[str, str]
_shared = threading.Lock()
_breakers: dict[tuple[EndpointKey, int, float], CircuitBreaker] = {}
_lines: dict[tuple[EndpointKey, float | None, float | None, int], RateLimiter] = {}


def _place(model: Model) -> EndpointKey | None:
    address = getattr(model, "address", None)
    return (address, model.name) if isinstance(address, str) else None


def _breaker(place: EndpointKey, settings: ModelSettings) -> CircuitBreaker:
    key = (place, settings.pause_after, settings.pause_s)
    with _shared:
        return _breakers.setdefault(key, CircuitBreaker(settings.pause_after, settings.pause_s))


def _line(model: Model, settings: ModelSettings) -> RateLimiter:
    limits = (settings.requests_per_minute, settings.tokens_per_minute, settings.burst)
    place = _place(model)
    if place is None:
        return RateLimiter(*limits)
    with _shared:
        return _lines.setdefault((place, *limits), RateLimiter(*limits))


def forget_endpoints() -> None:
    """Forget all that is known of endpoints: open circuit breakers, waiting lines, clients."""
    with _shared:
        _breakers.clear()
        _lines.clear()
    from_settings.cache_clear()
