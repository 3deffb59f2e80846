"""What the batch lane asks of a provider's batch API, whoever's it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from ...state.errors import ModelError
from ...state.journal.batches import Batch
from ..backends.http import HTTPStatusError
from ..model import Reply, Request

Body = Mapping[str, Any]
Outcome = Literal["answered", "refused", "expired", "canceled", "lost"]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one request, as the record keeps it.

    `answered` has the body of the answer. `refused` has an HTTP status and the body of an error, as a live
    call would get. The provider never came to one that `expired` or was `canceled`; one that is `lost` is in
    none of its results.
    """

    outcome: Outcome
    body: Any = None
    status: int | None = None

    def values(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class BatchState:
    """How a batch stands at its provider.

    `files` are where the results of one that has ended are. `problem` says why some are missing, `rejected`
    the HTTP status that fits where it was refused as a whole.
    """

    ended: bool
    problem: str | None = None
    files: Sequence[str] = ()
    rejected: int | None = None


class StillRunning(Exception):
    """A batch that may be ours has not ended, and only its results say whose it is."""


class BatchApi(Protocol):
    """One model at one provider's batch API."""

    name: str
    address: str
    model: str
    settle_s: (
        float  # after which a submit that nobody knows of does not arrive any more, unless set otherwise
    )

    def body(self, request: Request) -> Body:
        """Return the body of a request, without what the model is known to refuse."""
        ...

    def reply(self, request: Request, answer: Mapping[str, Any]) -> Reply:
        """Return the reply that an answer holds. Raises MalformedBody or HTTPStatusError if it holds none."""
        ...

    def explain(self, error: Exception) -> ModelError:
        """Return the ModelError for whatever went wrong."""
        ...

    def learn(self, error: HTTPStatusError, request: Request) -> bool:
        """Note a parameter that the model refuses; tell whether to ask again without it."""
        ...

    async def prepare(self, batch_id: str, requests: Mapping[str, Body]) -> str | None:
        """Send what costs nothing yet; return the id of the file with the requests, if the API wants one."""
        ...

    async def submit(self, batch_id: str, file_id: str | None, requests: Mapping[str, Body]) -> str:
        """Begin the batch, and return the provider's id of it."""
        ...

    async def find(self, batch: Batch, others: set[str], requests: Sequence[str]) -> str | None:
        """Return the provider's id of a batch that may have been begun, None if it was not.

        `others` are batches that are known to be something else, `requests` the ids in this one.
        """
        ...

    async def bar(self, batch: Batch) -> None:
        """Make sure, as far as the API can, that a submit which is still on its way begins nothing."""
        ...

    async def state(self, provider_id: str) -> BatchState:
        """Return how a batch stands."""
        ...

    async def results(self, state: BatchState) -> dict[str, Result]:
        """Return the results of a batch that has ended, by their requests' ids."""
        ...
