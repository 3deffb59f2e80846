"""Langfuse's own API client, for what does not travel as spans: scores and prompts.

It is the client that `Langfuse.create_score` and `get_prompt` use underneath. A `Langfuse` object is not
made: there is one for each public key in a process, and it is the user's; nor does it say what arrived.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ...state.errors import SettingsError
from ...state.masking import Masker
from ..record.spans import Row
from .langfuse_scores import Scored, ScoreOutcome, ScorePoster, body_of

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

    @cached_property
    def _poster(self) -> ScorePoster:
        return ScorePoster(lambda: self.api)

    def send(self, scores: Sequence[Scored], mask: Masker) -> ScoreOutcome:
        """Send scores under their own ids. Raises SettingsError if the SDK is missing."""
        _ = self.api
        return self._poster.post([body_of(trace, score, mask) for trace, score in scores])

    def send_bodies(self, bodies: Sequence[Row]) -> ScoreOutcome:
        """Send scores that are in the API's form already. Raises SettingsError if the SDK is missing."""
        _ = self.api
        return self._poster.post(bodies)
