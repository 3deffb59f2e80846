"""`stepgraph models check`: what each bound model should be able to do, and what it really does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import click

from ...providers.chat_classes import chat_class
from ...providers.provider_table import LOCAL, REMOTE, capabilities_of
from ...providers.settings import (
    ChainSettings,
    ModelSettings,
    binding_of,
    bound_roles,
    parse_binding,
)
from ...providers.testing.conformance import ConformanceFinding, examine
from ...state.errors import InputError
from ...tracing.record.text import clean
from ..exit_codes import ExitCode
from .models_conform import local_settings

# Which check of the examination is about which capability.
CHECKED = {
    "JSON schema": "structured",
    "tools": "tools",
    "log-probabilities": "logprobs",
    "streaming": "stream_usage",
    "limit of tokens": "max_tokens",
    "reasoning text": "reasoning",
    "cached tokens": "cached",
    "own cost": "cost",
}


def check(names: Sequence[str], *, offline: bool, as_json: bool) -> ExitCode:
    """Print each model's record, and unless `offline` how it differs; return FAILED if it does."""
    different = 0
    for role in names or bound_roles():
        binding = binding_of(role.lower()) or parse_binding(role, f"models check {role}")
        for settings in binding.models if isinstance(binding, ChainSettings) else (binding,):
            different += _check_one(role, settings, offline=offline, as_json=as_json)
    if not names and not bound_roles():
        raise InputError("No role is bound. Name a model: stepgraph models check ollama:llama3.2")
    return ExitCode.FAILED if different else ExitCode.DONE


def _check_one(role: str, settings: ModelSettings, *, offline: bool, as_json: bool) -> int:
    can = capabilities_of(settings.provider, settings.overrides)
    findings: dict[str, ConformanceFinding] = {}
    differences: dict[str, Any] = {}
    offline = offline or (settings.by_langchain and settings.provider not in REMOTE)
    if not offline:
        seen, differences = asyncio.run(examine(_reachable(settings)))
        findings = {CHECKED.get(finding.check, finding.check): finding for finding in seen}
    differences = {name: value for name, value in differences.items() if value != getattr(can, name)}
    if as_json:
        rows = [{"capability": name, "value": value, "source": source} for name, value, source in can.rows()]
        fields = {"role": role, "provider": settings.provider, "model": settings.model, "record": rows}
        click.echo(json.dumps({**fields, "found": None if offline else differences}))
        return len(differences)
    click.secho(clean(f"{role}: {settings.provider or settings.base_url} {settings.model}"), bold=True)
    for name, value, source in can.rows():
        finding = findings.get(name)
        seen_as = ""
        if name in differences:
            seen_as = f"found: {json.dumps(differences[name])}"
        elif finding is not None:
            seen_as = finding.outcome
        click.echo(f"  {name:17} {value:30} ", nl=False)
        click.secho(f"{seen_as:12} ", fg="yellow" if name in differences else None, nl=False)
        click.echo(source)
    if settings.by_langchain and settings.provider not in REMOTE:
        known = chat_class(settings.provider)
        missing = "" if known.is_installed else f" Its package is missing: {known.install}"
        click.echo(f"  {known.name} asks it; only endpoints compatible with OpenAI's are examined.{missing}")
    first = next(iter(findings.values()), None)
    if first is not None and first.outcome == "fail":
        click.secho(clean(f"  It does not answer: {first.why}"), fg="red")
        return 1
    if differences:
        shown = ", ".join(f"{name} = {json.dumps(value)}" for name, value in differences.items())
        click.echo(f"  Settings that suit it:  capabilities = {{ {shown} }}")
    return len(differences)


def _reachable(settings: ModelSettings) -> ModelSettings:
    """Return settings with an address; the model on this machine is started for it."""
    if settings.provider != LOCAL:
        return settings
    return local_settings(timeout_s=settings.timeout_s).model_copy(
        update={"capabilities": settings.overrides}
    )
