"""Scores in the form that each version of Langfuse's server takes, and what it says of each one.

The SDK posts a list of scores at once. Older servers take one object a request, and answer a list with
400. So the first list that is refused is tried again one score at a time; what then works is kept to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from ...state.masking import Masker
from ..record.spans import Row, Trace

if TYPE_CHECKING:
    from langfuse.api import LangfuseAPI

REFUSED = (400, 413, 422)  # a verdict on what was sent; with another status, later may be better
MAX_REASON = 300  # characters

Form = Literal["list", "object"]
Scored = tuple[Trace, Row]


@dataclass(frozen=True)
class ScoreOutcome:
    """What became of scores: the ids that arrived, and why others were refused.

    `status` and `error` say why nothing more is taken now; what is neither arrived nor refused waits.
    """

    arrived: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    stopped: bool = False
    status: int | None = None
    error: str = ""

    def __add__(self, other: ScoreOutcome) -> ScoreOutcome:
        last = other if other.stopped else self
        return ScoreOutcome(
            self.arrived + other.arrived,
            self.refused + other.refused,
            self.stopped or other.stopped,
            last.status,
            last.error,
        )


class ScorePoster:
    """Posts scores under their own ids: sent again, they take their own place."""

    def __init__(self, api: Callable[[], LangfuseAPI]) -> None:
        self._api = api
        self._form: Form | None = None

    def post(self, bodies: Sequence[Row]) -> ScoreOutcome:
        """Post scores, and find out which ones the server took. Each body has an `id`."""
        if not bodies:
            return ScoreOutcome()
        if self._form == "object":
            return self._each(bodies)
        together = self._send(list(bodies))
        if not together.refused:
            self._form = self._form or ("list" if together.arrived else None)
            return together
        if len(bodies) == 1 and self._form == "list":
            return together
        return self._each(bodies)

    def _each(self, bodies: Sequence[Row]) -> ScoreOutcome:
        """Post scores one by one, so that one which is refused keeps back no other."""
        outcome = ScoreOutcome()
        for body in bodies:
            outcome += self._alone(body)
            if outcome.stopped:
                break
        return outcome

    def _alone(self, body: Row) -> ScoreOutcome:
        outcome = ScoreOutcome()
        forms: tuple[Form, ...] = (self._form,) if self._form else ("object", "list")
        for form in forms:
            answer = self._send(body if form == "object" else [body])
            if not answer.refused:
                if answer.arrived:
                    self._form = form
                return answer
            outcome = outcome if outcome.refused else answer  # what is said of the object speaks of the score
        return outcome

    def _send(self, body: Any) -> ScoreOutcome:
        import httpx
        from langfuse.api.core import ApiError
        from pydantic import ValidationError

        ids = tuple(each["id"] for each in (body if isinstance(body, list) else [body]))
        try:
            answer = self._api().scores.create(request=body, request_options={"max_retries": 0})
        except ApiError as error:
            if error.status_code in REFUSED:
                return ScoreOutcome(refused=tuple((id_, _reason(error.body)) for id_ in ids))
            return ScoreOutcome(stopped=True, status=error.status_code, error="no answer that it knows")
        except httpx.HTTPError as error:
            return ScoreOutcome(stopped=True, error=type(error).__name__)
        except ValidationError:
            return ScoreOutcome(arrived=ids)  # a success, in words that this SDK does not know
        except ValueError as error:  # such as a number that JSON does not have
            return ScoreOutcome(refused=tuple((id_, str(error)) for id_ in ids))
        if getattr(answer, "rejected", 0):
            # It does not say which ones, so each is asked about alone.
            message = "; ".join(error.message for error in getattr(answer, "errors", ()))
            return ScoreOutcome(refused=tuple((id_, message[:MAX_REASON]) for id_ in ids))
        return ScoreOutcome(arrived=ids)


def body_of(trace: Trace, score: Row, mask: Masker) -> Row:
    """Return a score as the API wants it: a text is a label, a number beside a label was true or false."""
    value, label = score["value"], score["label"]
    named = label in ("true", "false")
    kind = "CATEGORICAL" if value is None else "BOOLEAN" if named else "NUMERIC"
    fields = {
        "id": score["id"],
        "traceId": trace.id,
        "observationId": score["span"],
        "name": score["name"],
        "value": label if value is None else value,
        "dataType": kind,
        "comment": score["comment"] and mask.text(score["comment"]),
        "environment": trace.environment,
        "timestamp": datetime.fromtimestamp(score["scored_at"], UTC).isoformat(),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _reason(body: Any) -> str:
    """Return what a server said of a request that it refused, in one line."""
    if isinstance(body, dict):
        message = body.get("message") or body.get("error") or body
        details = body.get("error") if isinstance(body.get("error"), list) else None
        text = f"{message}: {details}" if details else str(message)
    else:
        text = str(body)
    return " ".join(text.split())[:MAX_REASON]
