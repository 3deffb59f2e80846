"""The commands that examine an endpoint and keep a provider's key."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from typing import Any

import click

from ...providers.backends.ondevice import shipped_weights, start_server
from ...providers.keys import find_key, store_key
from ...providers.provider_table import LOCAL, PROVIDERS, REMOTE, provider_named
from ...providers.settings import ModelSettings
from ...providers.testing.checks import CHECKS
from ...providers.testing.conformance import ConformanceFinding, examine, first_model
from ...state.errors import SettingsError, did_you_mean
from ...tracing.record.text import clean, duration
from ..exit_codes import ExitCode

COLOURS = {"pass": "green", "fail": "red", "unsupported": "yellow"}
WIDTH = max(map(len, CHECKS))


def conform(
    where: str, *, model: str | None, key_env: str | None, timeout_s: float, calls_at_once: int, as_json: bool
) -> ExitCode:
    """Examine an endpoint, print what was found, and return FAILED if a check failed."""
    settings = asyncio.run(_settings(where, model, key_env, timeout_s))
    if not as_json:
        click.echo(clean(f"{settings.model} at {settings.base_url}"))

    def tell(finding: ConformanceFinding) -> None:
        if as_json:
            click.echo(json.dumps(dataclasses.asdict(finding)))
        else:
            click.echo(f"{finding.check:{WIDTH}}  ", nl=False)
            click.secho(f"{finding.outcome:11}", fg=COLOURS[finding.outcome], nl=False)
            click.echo(f"  {duration(finding.seconds):>8}  {clean(finding.why)}")

    findings, suggested = asyncio.run(examine(settings, tell, calls_at_once=calls_at_once))
    failed = sum(finding.outcome == "fail" for finding in findings)
    if as_json:
        click.echo(json.dumps({"failed": failed, "capabilities": suggested}))
    else:
        _conclude(findings, failed, suggested)
    return ExitCode.FAILED if failed else ExitCode.DONE


def _conclude(findings: list[ConformanceFinding], failed: int, suggested: dict[str, Any]) -> None:
    passed = sum(finding.outcome == "pass" for finding in findings)
    click.echo(f"{passed} pass, {failed} fail, {len(findings) - passed - failed} unsupported.")
    if len(findings) < len(CHECKS):
        click.echo(f"The other {len(CHECKS) - len(findings)} checks were not made.")
    if suggested:
        shown = ", ".join(f"{name} = {json.dumps(value)}" for name, value in suggested.items())
        click.echo(f"Settings that suit it:  capabilities = {{ {shown} }}")


def local_settings(model: str | None = None, *, timeout_s: float) -> ModelSettings:
    """Start the model on this machine and return the settings that reach it."""
    running = start_server(shipped_weights())
    values: dict[str, Any] = {"base_url": f"{running.address}/v1", "api_key": running.key}
    return ModelSettings(model=model or shipped_weights().stem, timeout_s=timeout_s, **values)


async def _settings(where: str, model: str | None, key_env: str | None, timeout_s: float) -> ModelSettings:
    if where == LOCAL:
        return await asyncio.to_thread(local_settings, model, timeout_s=timeout_s)
    if where in REMOTE:
        known = provider_named(where)
        base_url, key_env = known.address, key_env or known.api_key_env
        provider: str | None = where
    elif where.startswith(("http://", "https://")):
        base_url, provider = where.rstrip("/"), None
    else:
        hint = did_you_mean(where, [LOCAL, *REMOTE])
        raise SettingsError(f"{where!r} is no address: expected http://… up to /v1, or a provider. {hint}")
    if model is None:
        model = await first_model(base_url, find_key(key_env, where), timeout_s)
    return ModelSettings(
        provider=provider, model=model, base_url=base_url, api_key_env=key_env, timeout_s=timeout_s
    )


def keep_key(name: str, *, delete: bool) -> None:
    """Ask for a key and keep it in the system's keyring, or delete it there."""
    variable = provider_named(name).api_key_env or name
    if name in PROVIDERS and variable == name:
        raise SettingsError(f"{name} takes no key of its own. Name the variable of api_key_env instead.")
    if name not in PROVIDERS and name != name.upper():
        raise SettingsError(f"Unknown provider {name!r}. {did_you_mean(name, PROVIDERS)}")
    if delete:
        store_key(variable, None)
        click.echo(f"{variable} is no longer in the keyring.")
        return
    typed = sys.stdin.isatty()
    key = click.prompt(variable, hide_input=True) if typed else sys.stdin.readline().strip()
    if not key:
        raise SettingsError("No key was given. Type it, or send it to standard input.")
    store_key(variable, key)
    click.echo(f"{variable} is in the keyring; the environment variable of that name goes before it.")
