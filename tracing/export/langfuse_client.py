"""Langfuse's own API client, for what does not travel as spans: scores and prompts.

It is the client that `Langfuse.create_score` and `get_prompt` use underneath. A `Langfuse` object is not
made: there is one for each public key in a process, and it is the user's; nor does it say what arrived.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...state.errors import SettingsError
from ...state.masking import Masker
from ..record.spans import Row, Trace
from .http_session import HttpOutcome

if TYPE_CHECKING:
    from langfuse.api import LangfuseAPI


class LangfuseClient:
    """Talks to one Langfuse project. It connects when it is first used."""

    def __init__(self, public_key: str, secret_key: str, base_url: str, timeout_s: float = 10.0) -> None:
        self.base_url = base_url.rstrip("/")
        self._keys = public_key, secret_key
        self._timeout_s = timeout_s

    @cached_property
    def api(self) -> LangfuseAPI:
        """The SDK's client. Raises SettingsError if the SDK is missing."""
        try:
            import httpx
            import langfuse
            from langfuse.api import LangfuseAPI
        except ImportError:
            raise SettingsError(
                "Langfuse's scores and prompts need its SDK: pip install 'stepgraph[langfuse]'."
            ) from None
        public, secret = self._keys
        return LangfuseAPI(
            base_url=self.base_url,
            username=public,
            password=secret,
            x_langfuse_sdk_name="python",
            x_langfuse_sdk_version=langfuse.__version__,
            x_langfuse_public_key=public,
            httpx_client=httpx.Client(timeout=self._timeout_s),
            timeout=self._timeout_s,
        )

    def send(self, scores: Sequence[tuple[Trace, Row]], mask: Masker) -> HttpOutcome:
        """Send scores under their own ids: sent again, they take their own place."""
        api = self.api
        import httpx
        from langfuse.api.core import ApiError

        body: Any = [_told(trace, score, mask) for trace, score in scores]
        try:
            answer = api.scores.create(request=body, request_options={"max_retries": 0})
        except ApiError as error:
            return HttpOutcome(False, error.status_code, "no answer that it knows")
        except httpx.HTTPError as error:
            return HttpOutcome(False, None, type(error).__name__)
        if getattr(answer, "rejected", 0):
            return HttpOutcome(False, 400)
        return HttpOutcome(True, 202)


def _told(trace: Trace, score: Row, mask: Masker) -> Row:
    label = score["label"] if score["value"] is None else None
    told = {
        "id": score["id"],
        "traceId": trace.id,
        "observationId": score["span"],
        "name": score["name"],
        "value": score["value"] if label is None else label,
        "dataType": "NUMERIC" if label is None else "CATEGORICAL",
        "comment": score["comment"] and mask.text(score["comment"]),
        "environment": trace.environment,
        "timestamp": datetime.fromtimestamp(score["scored_at"], UTC).isoformat(),
    }
    return {name: value for name, value in told.items() if value is not None}
