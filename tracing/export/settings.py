"""Where traces go and what is left out of them: `[tracing]` in stepgraph.toml, and the environment."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...state.errors import SettingsError
from ...state.keys_in_use import remember
from ...state.masking import EVERYTHING, KEYS, NO_KEYS, PERSONAL, Masker, Rule, without_userinfo
from ...state.settings_file import find_file
from .langfuse import CLOUD, PATH, SCOPE, headers, sdk_version
from .langfuse_client import LangfuseClient
from .otlp import Destination


class OtlpSettings(BaseModel):
    """One OTLP endpoint. `headers_env` names variables that hold values of headers, such as keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    name: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    headers_env: dict[str, str] = Field(default_factory=dict)
    timeout_s: float = Field(default=10, gt=0)


class TracingTable(BaseModel):
    """The table `[tracing]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    langfuse: bool = True
    environment: str | None = None
    version: str | None = None
    service: str = "stepgraph"
    sample: float = Field(default=1.0, ge=0, le=1)
    personal_data: bool = False
    mask: dict[str, str] = Field(default_factory=dict)
    mask_stored: bool = False
    otlp: tuple[OtlpSettings, ...] = ()


@dataclass(frozen=True)
class TracingSettings:
    """Destinations, what masks what is sent and what is stored, the sample, and the labels of each run.

    `sample` is the share of traces that is sent; those with an error always are.
    """

    destinations: tuple[Destination, ...] = ()
    sample: float = 1.0
    labels: Mapping[str, str] = field(default_factory=dict)
    stored_mask: Masker = NO_KEYS
    sent_mask: Masker = EVERYTHING

    def masked_by(self, *rules: Rule) -> TracingSettings:
        """Return these settings with further masking rules for all that is sent."""
        mask = Masker((*self.sent_mask.rules, *rules))
        return replace(
            self,
            sent_mask=mask,
            destinations=tuple(replace(to, mask=mask) for to in self.destinations),
        )


def read_settings(folder: Path | None = None) -> TracingSettings:
    """Return what the nearest stepgraph.toml and the environment say. Raises SettingsError."""
    table = _table(folder or Path.cwd())
    own = tuple(Rule(name, pattern) for name, pattern in table.mask.items())
    rules = (*KEYS, *(() if table.personal_data else PERSONAL), *own)
    mask = Masker(rules)
    named = [_langfuse() if table.langfuse else None, _from_environment(), *map(_otlp, table.otlp)]
    destinations = tuple(replace(to, mask=mask, service=table.service) for to in named if to is not None)
    labels = {
        "environment": table.environment
        or os.environ.get("LANGFUSE_TRACING_ENVIRONMENT")
        or os.environ.get("LANGFUSE_ENVIRONMENT"),
        "version": table.version or os.environ.get("LANGFUSE_RELEASE"),
    }
    return TracingSettings(
        destinations=destinations,
        sample=table.sample,
        labels={name: label for name, label in labels.items() if label},
        stored_mask=mask if table.mask_stored else Masker((*KEYS, *own)),
        sent_mask=mask,
    )


def _table(folder: Path) -> TracingTable:
    path = find_file(folder)
    if path is None:
        return TracingTable()
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig")).get("tracing", {})
        return TracingTable.model_validate(data)
    except (OSError, UnicodeDecodeError, RecursionError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_url=False)
        )
        raise SettingsError(
            f"{path}, [tracing]: {problems}. Known: {', '.join(TracingTable.model_fields)}."
        ) from None


def langfuse(
    public_key: str, secret_key: str, base_url: str = CLOUD, *, timeout_s: float = 10.0
) -> Destination:
    """Return a Langfuse project as a destination."""
    remember(secret_key)
    base = base_url.rstrip("/")
    path = os.environ.get("LANGFUSE_OTEL_TRACES_EXPORT_PATH") or PATH
    return Destination(
        name=f"langfuse {without_userinfo(base)} {public_key}",
        url=f"{base}/{path.lstrip('/')}",
        headers=headers(public_key, secret_key),
        dialect="langfuse",
        timeout_s=timeout_s,
        # Of spans from any other scope than its SDK's, Langfuse keeps every attribute once more, as metadata.
        scope=(SCOPE, sdk_version(), {"public_key": public_key}),
        client=LangfuseClient(public_key, secret_key, base, timeout_s),
    )


def langfuse_project() -> tuple[str, str, str] | None:
    """Return public key, secret key and address from the variables of Langfuse's SDK; None without keys."""
    public, secret = os.environ.get("LANGFUSE_PUBLIC_KEY"), os.environ.get("LANGFUSE_SECRET_KEY")
    if not public or not secret:
        return None
    return public, secret, os.environ.get("LANGFUSE_BASE_URL") or os.environ.get("LANGFUSE_HOST") or CLOUD


def _langfuse() -> Destination | None:
    project = langfuse_project()
    off = os.environ.get("LANGFUSE_TRACING_ENABLED", "true").lower() in ("false", "0")
    return None if project is None or off else langfuse(*project)


def _from_environment() -> Destination | None:
    """Return the endpoint of OpenTelemetry's own variables, where they ask for OTLP over HTTP."""
    url = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    base = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not url and base:
        url = base.rstrip("/") + "/v1/traces"
    if not url or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    given = ",".join(
        os.environ.get(name, "")
        for name in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
    )
    return Destination(name=f"otlp {without_userinfo(url)}", url=url, headers=_pairs(given))


def _pairs(text: str) -> dict[str, str]:
    from urllib.parse import unquote

    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    found = {name.strip(): unquote(value.strip()) for name, _, value in pairs}
    _remember(found)
    return found


def _remember(found: Mapping[str, str]) -> None:
    for value in found.values():
        remember(value.rpartition(" ")[2])


def _otlp(settings: OtlpSettings) -> Destination | None:
    found = dict(settings.headers)
    for header in found:
        if any(word in header.lower() for word in ("auth", "key", "token", "secret")):
            raise SettingsError(
                f"[tracing] {settings.url}: a key does not belong in a settings file. Put the header's value "
                f'in an environment variable and name that: headers_env = {{ {header} = "MY_VARIABLE" }}.'
            )
    for header, variable in settings.headers_env.items():
        value = os.environ.get(variable)
        if value is None:
            raise SettingsError(
                f"[tracing] {settings.url}: the environment variable {variable} is not set; it holds the "
                f"header {header}."
            )
        found[header] = value
    _remember(found)
    return Destination(
        name=f"otlp {settings.name or without_userinfo(settings.url)}",
        url=settings.url,
        headers=found,
        timeout_s=settings.timeout_s,
    )
