"""Where traces go and what is left out of them: `[tracing]` in stepgraph.toml, and the environment."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...state.errors import SettingsError
from ...state.keys_in_use import key_in_query, names_key, remember
from ...state.masking import EVERYTHING, KEYS, NO_KEYS, PERSONAL, Masker, Rule, without_userinfo
from ...state.settings_file import find_file
from .langfuse import CLOUD, PATH, SCOPE, headers, sdk_version
from .langfuse_client import LangfuseClient
from .otlp import Destination
from .otlp_metrics import INTERVAL_S, MetricsDestination, Temporality

Signal = Literal["traces", "metrics"]
# What services read from headers that is no key, but a name which may stand anywhere in a trace.
_PLAIN_HEADERS = {"x-bt-parent", "x-project-name", "dd-otlp-source", "x-scope-orgid"}


class OtlpSettings(BaseModel):
    """One OTLP endpoint. `headers_env` names variables that hold values of headers, such as keys.

    Before the variable may stand the scheme that an endpoint wants before a key: "Bearer MY_KEY".
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    name: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    headers_env: dict[str, str] = Field(default_factory=dict)
    timeout_s: float = Field(default=10, gt=0)


class MetricsSettings(OtlpSettings):
    """One OTLP endpoint for metrics: how often they are sent, and whether as sums or as what is new."""

    interval_s: float = Field(default=INTERVAL_S, gt=0)
    temporality: Temporality = "cumulative"


class TracingTable(BaseModel):
    """The table `[tracing]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    langfuse: bool = True
    environment: str | None = None
    version: str | None = None
    service: str | None = None
    sample: float = Field(default=1.0, ge=0, le=1)
    personal_data: bool = False
    mask: dict[str, str] = Field(default_factory=dict)
    mask_stored: bool = False
    otlp: tuple[OtlpSettings, ...] = ()
    metrics: tuple[MetricsSettings, ...] = ()


@dataclass(frozen=True)
class TracingSettings:
    """Destinations, what masks what is sent and what is stored, the sample, and the labels of each run.

    `metrics` are the destinations of figures on all calls. `sample` is the share of traces that is sent;
    those with an error always are.
    """

    destinations: tuple[Destination, ...] = ()
    sample: float = 1.0
    labels: Mapping[str, str] = field(default_factory=dict)
    stored_mask: Masker = NO_KEYS
    sent_mask: Masker = EVERYTHING
    metrics: tuple[MetricsDestination, ...] = ()

    def masked_by(self, *rules: Rule) -> TracingSettings:
        """Return these settings with further masking rules for all that is sent."""
        mask = Masker((*self.sent_mask.rules, *rules))
        return replace(
            self,
            sent_mask=mask,
            destinations=tuple(replace(to, mask=mask) for to in self.destinations),
            metrics=tuple(replace(to, mask=mask) for to in self.metrics),
        )


def read_settings(folder: Path | None = None) -> TracingSettings:
    """Return what the nearest stepgraph.toml and the environment say. Raises SettingsError."""
    table = _table(folder or Path.cwd())
    own = tuple(Rule(name, pattern) for name, pattern in table.mask.items())
    rules = (*KEYS, *(() if table.personal_data else PERSONAL), *own)
    mask = Masker(rules)
    service = table.service or os.environ.get("OTEL_SERVICE_NAME") or "stepgraph"
    named = [_langfuse() if table.langfuse else None, _from_environment(), *map(_otlp, table.otlp)]
    destinations = tuple(replace(to, mask=mask, service=service) for to in named if to is not None)
    figures = [_metrics_from_environment(), *map(_metrics, table.metrics)]
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
        metrics=tuple(replace(to, mask=mask, service=service) for to in figures if to is not None),
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
    url = _endpoint_of("traces", also_base=True)
    if url is None:
        return None
    headers = _headers_of("traces")
    return Destination(name=f"otlp {_named(url)}", url=url, headers=headers, dialect=_dialect_of(headers))


def _metrics_from_environment() -> MetricsDestination | None:
    """Return the endpoint for metrics of OpenTelemetry's own variables, where they ask for metrics."""
    url = _endpoint_of("metrics", also_base="otlp" in _words("OTEL_METRICS_EXPORTER"))
    if url is None:
        return None
    wanted = _words("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE")
    return MetricsDestination(
        name=f"metrics {_named(url)}",
        url=url,
        headers=_headers_of("metrics"),
        temporality="delta" if wanted in (["delta"], ["lowmemory"]) else "cumulative",
    )


def _endpoint_of(signal: Signal, *, also_base: bool) -> str | None:
    """Return the address for traces or metrics, or what follows from that of all signals; over HTTP only."""
    protocol = f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL"
    if (
        _words("OTEL_SDK_DISABLED") == ["true"]
        or _words(f"OTEL_{signal.upper()}_EXPORTER") == ["none"]
        or (_words(protocol) or _words("OTEL_EXPORTER_OTLP_PROTOCOL")) == ["grpc"]
    ):
        return None
    url = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    base = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") if also_base else None
    address = url or (f"{base.rstrip('/')}/v1/{signal}" if base else "")
    return address if _is_whole(address) else None


def _words(variable: str) -> list[str]:
    """Return what a variable says, in lower case; nothing for one that is empty or not set."""
    return [word.strip() for word in os.environ.get(variable, "").lower().split(",") if word.strip()]


def _headers_of(signal: Signal) -> dict[str, str]:
    names = ("OTEL_EXPORTER_OTLP_HEADERS", f"OTEL_EXPORTER_OTLP_{signal.upper()}_HEADERS")
    return _pairs(",".join(os.environ.get(name, "") for name in names))


def _pairs(text: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    values = {name.strip(): unquote(value.strip()) for name, _, value in pairs}
    for name, value in values.items():
        if name.lower() not in _PLAIN_HEADERS:
            remember(value.rpartition(" ")[2])
    return values


def _otlp(settings: OtlpSettings) -> Destination:
    headers = _all_headers(settings)
    return Destination(
        name=f"otlp {settings.name or _named(settings.url)}",
        url=settings.url,
        headers=headers,
        dialect=_dialect_of(headers),
        timeout_s=settings.timeout_s,
    )


def _dialect_of(headers: Mapping[str, str]) -> str:
    """Return in whose words spans are told to an endpoint, which its headers tell."""
    return "braintrust" if any(name.lower() == "x-bt-parent" for name in headers) else "otel"


def _metrics(settings: MetricsSettings) -> MetricsDestination:
    headers = _all_headers(settings)
    return MetricsDestination(
        name=f"metrics {settings.name or _named(settings.url)}",
        url=settings.url,
        headers=headers,
        timeout_s=settings.timeout_s,
        interval_s=settings.interval_s,
        temporality=settings.temporality,
    )


def _all_headers(settings: OtlpSettings) -> dict[str, str]:
    """Check an endpoint and return its headers, with those of the environment. Raises SettingsError."""
    _check_address(settings.url)
    where = f"[tracing] {settings.name or _named(settings.url)}"
    all_headers = dict(settings.headers)
    for header in all_headers:
        if names_key(header):
            raise SettingsError(
                f"{where}: a key does not belong in a settings file. Put the header's value "
                f'in an environment variable and name that: headers_env = {{ {header} = "MY_VARIABLE" }}.'
            )
    for header, named in settings.headers_env.items():
        scheme, _, variable = named.rpartition(" ")
        value = os.environ.get(variable)
        if value is None:
            raise SettingsError(
                f"{where}: the environment variable {variable} is not set; it holds the header {header}."
            )
        remember(value.rpartition(" ")[2])
        all_headers[header] = f"{scheme} {value}".lstrip()
    return all_headers


def _named(url: str) -> str:
    """Return an address as it is told and kept: without its user and password, and without a key."""
    address = urlsplit(url)
    remember(address.password)
    shown = without_userinfo(url)
    return shown.partition("?")[0] if key_in_query(address.query) else shown


def _is_whole(url: str) -> bool:
    try:
        address = urlsplit(url)
    except ValueError:
        return False
    return address.scheme in ("http", "https") and bool(address.hostname)


def _check_address(url: str) -> None:
    if not _is_whole(url):
        raise SettingsError(
            f"[tracing] url = {without_userinfo(url)!r} is no whole address, such as "
            "http://localhost:4318/v1/traces. Only HTTP is spoken, not gRPC."
        )
    if key_in_query(urlsplit(url).query):
        raise SettingsError(
            f"[tracing] {_named(url)}: the address holds a key. Put the key into an environment variable, as "
            "the value of a header, and name that in headers_env."
        )
