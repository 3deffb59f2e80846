"""What an endpoint really does, found out by asking it: each check ends in pass, fail or unsupported.

A failure breaks a workflow; unsupported is a lack that stepgraph can live with, because it asks otherwise or
does without.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from ...state.errors import ModelError, SettingsError
from ..settings import ModelSettings
from .checks import CHECKS, Check
from .probe import CheckFailed, Probe, Unsupported

Outcome = Literal["pass", "fail", "unsupported"]


@dataclass(frozen=True)
class ConformanceFinding:
    """What one check found, and why."""

    check: str
    outcome: Outcome
    why: str
    seconds: float


async def examine(
    settings: ModelSettings,
    report: Callable[[ConformanceFinding], None] | None = None,
    *,
    calls_at_once: int = 8,
) -> tuple[list[ConformanceFinding], dict[str, Any]]:
    """Run all checks; return what they found, and the settings that would suit the endpoint better.

    Without an answer to the first check, the others are not made.
    """
    findings: list[ConformanceFinding] = []
    probe = Probe(settings, calls_at_once=calls_at_once)
    for name, function in CHECKS.items():
        finding = await _run(name, function, probe)
        findings.append(finding)
        if report is not None:
            report(finding)
        if len(findings) == 1 and finding.outcome == "fail":
            break
    return findings, probe.suggested


async def _run(name: str, function: Check, probe: Probe) -> ConformanceFinding:
    started = time.perf_counter()
    outcome: Outcome = "pass"
    try:
        why = await function(probe)
    except Unsupported as lack:
        outcome, why = "unsupported", str(lack)
    except (CheckFailed, ModelError) as error:
        outcome, why = "fail", str(error)
    except Exception as error:
        outcome, why = "fail", probe.explain(error)
    return ConformanceFinding(name, outcome, why, time.perf_counter() - started)


async def first_model(base_url: str, key: str | None, timeout_s: float) -> str:
    """Return the first model that an endpoint lists. Raises SettingsError if it lists none."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as client,
            client.get(f"{base_url.rstrip('/')}/models", headers=headers) as response,
        ):
            listed = (await response.json(content_type=None))["data"]
            return str(listed[0]["id"])
    except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError) as error:
        raise SettingsError(
            f"{base_url}/models lists no model ({type(error).__name__}). Name one: --model NAME"
        ) from None
