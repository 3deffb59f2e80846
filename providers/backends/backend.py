"""A model that answers by itself, at the bottom of a stack, and what the stack asks it beside its answers."""

from __future__ import annotations

from ..model import CallContext, Model, Reply, Request
from ..prices import AnyPrice
from ..provider_table import Tools


class Backend:
    """Base class of the backends. Any other `Model` may set these attributes as well; the defaults are here.

    `address` is the endpoint's: its circuit breaker, its rate limits and the clock of its machine go by it.
    `provider` is who answers, where that is known.
    `variant` tells models of one name and address apart whose settings make them answer differently.
    `tools` is "emulated" for a model that takes no tools. With `emits_tokens` the model passes its tokens to
    LangChain's callbacks itself. `count_tokens` asks the model's own tokenizer. `max_tokens` bounds an answer
    that neither request nor settings bound. `streams` says that an answer is passed to the context's sink as
    it comes, without losing its usage; `schema_first` that a request's schema is read before its messages.
    """

    name: str
    address: str = ""
    provider: str = ""
    variant: str = ""
    tools: Tools = "native"
    emits_tokens: bool = False
    max_tokens: int | None = None
    streams: bool = False
    schema_first: bool = False
    price: AnyPrice | None = None

    async def complete(self, request: Request, context: CallContext) -> Reply:
        raise NotImplementedError

    async def count_tokens(self, request: Request) -> int | None:
        """Return the most tokens that the model makes of a request without media; None if nobody can tell."""
        return None


_OWN = (
    "address", "provider", "variant", "tools", "emits_tokens", "max_tokens", "streams", "schema_first",
    "price",
)  # fmt: skip


class PlainBackend(Backend):
    """A `Model` of the user's own, with a default for each attribute that it does not set."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.name = model.name
        for attribute in _OWN:
            if hasattr(model, attribute):
                setattr(self, attribute, getattr(model, attribute))

    async def complete(self, request: Request, context: CallContext) -> Reply:
        return await self._model.complete(request, context)

    async def count_tokens(self, request: Request) -> int | None:
        count = getattr(self._model, "count_tokens", None)
        tokens: int | None = None if count is None else await count(request)
        return tokens
