"""Which model stands behind which role: model specs, `stepgraph.toml` and the environment."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator

from ..state.errors import SettingsError, did_you_mean
from ..state.keys_in_use import key_in_query, names_key
from ..state.settings_file import (
    FILE_NAME as FILE_NAME,
    find_file as find_file,
    read_tables,
    working_folders_file,
)
from .batch_terms import BATCH_TERMS, BatchApiName, BatchTerms
from .chat_classes import CHAT_CLASSES
from .dials import Dials
from .headers import check_headers
from .keys import warn_of_plain_key
from .prices import PRICE_KINDS, AnyPrice
from .provider_table import LOCAL, PROVIDERS, REMOTE, Client, Overrides, Structured, provider_named

DEFAULT_ROLE = "default"
ENVIRONMENT_PREFIX = "STEPGRAPH_MODEL"

# What a constructor of LangChain's calls things that have settings of their own.
OWN_PARAMS = {
    **dict.fromkeys(("model", "model_name", "model_id"), "the setting model"),
    **dict.fromkeys(("temperature",), "the setting temperature"),
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "max_output_tokens"), "the setting max_tokens"),
    **dict.fromkeys(("timeout", "request_timeout", "default_request_timeout"), "the setting timeout_s"),
    **dict.fromkeys(("max_retries", "retries"), "the setting retries"),
    **dict.fromkeys(("base_url", "azure_endpoint"), "the setting base_url"),
    **dict.fromkeys(("default_headers", "additional_headers"), "the setting headers"),
    **dict.fromkeys(("streaming", "disable_streaming"), "stream_mode of the run"),
    **dict.fromkeys(("n", "candidate_count"), "vote(…), which draws and pays for each answer by itself"),
    **dict.fromkeys(("callbacks", "cache", "rate_limiter"), "the session's and the model's settings"),
    **dict.fromkeys(Dials.model_fields, "the setting of that name"),
    "api_key": "the setting api_key_env",
    "organization": "the setting organization",
}
Failure = Literal["busy", "unreachable", "denied", "refused", "filtered", "too_long", "garbled"]
Trigger = Failure | Literal["invalid", "unsure"]
ALWAYS: tuple[Trigger, ...] = get_args(Failure)
TRIGGERS: tuple[Trigger, ...] = (*ALWAYS, "invalid", "unsure")


class BatchSettings(BaseModel, frozen=True, extra="forbid"):
    """How a model's calls are made in the batch lane; docs/budgets.md says what each setting means."""

    api: BatchApiName | None = None
    price: float | None = Field(default=None, ge=0, le=1)
    quiet_s: float = Field(default=1.0, ge=0, le=60)
    poll_s: float = Field(default=30.0, gt=0, le=3600)
    settle_s: float | None = Field(default=None, ge=0, le=86_400)
    fallback: Literal["live", "error"] = "live"


class ModelSettings(Dials, frozen=True, extra="forbid"):
    """One model at one endpoint, and how to use it; docs/models.md says what each setting means."""

    provider: str | None = None
    model: str = ""
    client: Client | None = None
    params: Mapping[str, Any] = Field(default_factory=dict)
    base_url: str | None = None
    api_key_env: str | None = None
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    organization: str | None = Field(default=None, min_length=1)
    headers: Mapping[str, str] = Field(default_factory=dict)
    structured: Structured | None = None
    temperature: float | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, gt=0)
    file_tokens: int | None = Field(default=None, gt=0)
    timeout_s: float = Field(default=120, gt=0)
    retries: int = Field(default=2, ge=0, le=20)
    retry_for_s: float = Field(default=300, ge=0)
    hedge_after_s: float | None = Field(default=None, gt=0)
    max_concurrency: int | None = Field(default=None, gt=0)
    queue_s: float | None = Field(default=None, ge=0)
    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    burst: int = Field(default=1, gt=0)
    shared: bool | None = None
    pause_after: int = Field(default=10, ge=0)
    pause_s: float = Field(default=15, gt=0)
    price: AnyPrice | None = None
    capabilities: Overrides | None = None
    batch: BatchSettings = BatchSettings()

    def __hash__(self) -> int:
        return hash((self.provider, self.model, self.base_url, self.temperature, self.max_tokens))

    @field_validator("batch", mode="before")
    @classmethod
    def _only_a_price(cls, value: Any) -> Any:
        return {"price": value} if isinstance(value, (int, float)) else value

    @field_validator("headers")
    @classmethod
    def _fit_headers(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        check_headers(value)
        return value

    @property
    def address(self) -> str:
        """Where the endpoint is: what the settings say, else the environment, else the provider's own."""
        return self.base_url or provider_named(self.provider).address

    @property
    def batch_terms(self) -> BatchTerms | None:
        """What is known of its batch API, with what the settings say otherwise; None where it has none."""
        terms = BATCH_TERMS.get(self.batch.api or self.provider or "")
        if terms is None or self.batch.price is None:
            return terms
        return replace(terms, price=self.batch.price, source="the settings")

    @property
    def by_langchain(self) -> bool:
        """Whether LangChain's class for the provider asks the model, not our own HTTP client."""
        return (self.client or provider_named(self.provider).client) == "langchain"

    @property
    def overrides(self) -> Overrides | None:
        """What the settings say about the endpoint's capabilities."""
        if self.structured is None:
            return self.capabilities
        return (self.capabilities or Overrides()).model_copy(update={"structured": self.structured})


class ChainSettings(BaseModel, frozen=True, extra="forbid"):
    """Models that are asked in turn: the next one where the one before fails for a reason in `on`.

    `min_confidence` goes with the reason "unsure": the answer's own field `confidence` is below it.
    """

    models: tuple[ModelSettings, ...] = Field(min_length=1)
    on: tuple[Trigger, ...] = ALWAYS
    min_confidence: float | None = Field(default=None, ge=0, le=1)


Binding = ModelSettings | ChainSettings


def key_variable(settings: ModelSettings) -> str | None:
    """Return the name of a model's key, in the environment and in the keyring."""
    return settings.api_key_env or provider_named(settings.provider).api_key_env


SPEC_HELP = (
    "Write 'local' (the on-device model), 'local:/path/to/model.gguf', or 'provider:model' with one of "
    f"{', '.join(REMOTE)}, or one that a LangChain package knows, such as anthropic, google_genai, "
    "azure_openai, bedrock, mistralai or groq; for another endpoint, a table with base_url and model in "
    f"{FILE_NAME}."
)


def parse_spec(spec: str | Mapping[str, Any], where: str) -> ModelSettings:
    """Return the settings that a model spec stands for. Raises SettingsError that names `where`."""
    if isinstance(spec, str):
        provider, _, model = spec.partition(":")
        if not spec.strip() or "//" in spec:
            raise SettingsError(f"{where}: {spec!r} is not a model spec. {SPEC_HELP}")
        values: dict[str, Any] = {"provider": provider, "model": model}
    else:
        values = dict(spec)
    named = values.get("provider")
    if isinstance(named, str) and named.replace("-", "_") in PROVIDERS:
        values["provider"] = named.replace("-", "_")
    _check_known(values, ModelSettings.model_fields, where, "setting")
    if isinstance(values.get("capabilities"), Mapping):
        _check_known(values["capabilities"], Overrides.model_fields, where, "capability")
    if isinstance(values.get("batch"), Mapping):
        _check_known(values["batch"], BatchSettings.model_fields, where, "setting", " of batch")
    try:
        settings = ModelSettings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(f"{where}: {_problems(error)}") from None
    settings = _checked(settings, where)
    if settings.api_key is not None:
        warn_of_plain_key(where, key_variable(settings))
    return settings


def parse_binding(spec: Any, where: str) -> Binding:
    """Return what a role is bound to: one model, or a chain of them.

    A chain is a list of model specs, a text with commas between them, or a table with `models` and, if
    need be, `on` and `min_confidence`. Raises SettingsError that names `where`.
    """
    if isinstance(spec, str) and "," in spec:
        spec = [part.strip() for part in spec.split(",")]
    values: dict[str, Any]
    if isinstance(spec, (list, tuple)):
        values = {"models": spec}
    elif isinstance(spec, Mapping) and "models" in spec:
        values = dict(spec)
    else:
        return parse_spec(spec, where)
    _check_known(values, ChainSettings.model_fields, where, "setting", " of a chain of models")
    models = values["models"]
    if not isinstance(models, (list, tuple)) or not all(isinstance(m, (str, Mapping)) for m in models):
        raise SettingsError(f"{where}: models must be a list of model specs. {SPEC_HELP}")
    _check_known(values.get("on", ()), TRIGGERS, where, "reason", " in on")
    members = tuple(parse_spec(m, f"{where}, model {n}") for n, m in enumerate(models, 1))
    if values.get("min_confidence") is not None:
        values["on"] = (*values.get("on", ALWAYS), "unsure")
    elif "unsure" in values.get("on", ()):
        raise SettingsError(f"{where}: the reason 'unsure' needs min_confidence, a number from 0 to 1.")
    try:
        return ChainSettings.model_validate({**values, "models": members})
    except ValidationError as error:
        raise SettingsError(f"{where}: {_problems(error)}") from None


def _check_known(names: Iterable[Any], known: Collection[str], where: str, kind: str, of: str = "") -> None:
    for name in names:
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise SettingsError(f"{where}: unknown {kind} {name!r}{of}. {hint}")


def _problems(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc'] if part not in PRICE_KINDS)}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False)
    )


def _checked(settings: ModelSettings, where: str) -> ModelSettings:
    provider = settings.provider
    if provider is not None and provider not in PROVIDERS:
        raise SettingsError(
            f"{where}: unknown provider {provider!r}. {did_you_mean(provider, PROVIDERS)} {SPEC_HELP}"
        )
    if provider is None and settings.base_url is None:
        raise SettingsError(f"{where}: neither provider nor base_url is given. {SPEC_HELP}")
    address = urlsplit(settings.base_url or "")
    if address.username or address.password or key_in_query(address.query):
        raise SettingsError(
            f"{where}: base_url holds a user, a password or a key. Keys go into an environment variable, "
            "named by api_key_env, or into headers as $NAME."
        )
    others_url = provider in CHAT_CLASSES and provider not in REMOTE  # the class knows what it takes
    if settings.base_url is not None and not others_url and address.scheme not in ("http", "https"):
        raise SettingsError(
            f"{where}: base_url does not begin with http:// or https://; expected a whole address, such as "
            "http://localhost:8000/v1."
        )
    if not settings.model and provider != LOCAL:
        raise SettingsError(f"{where}: no model is named. {SPEC_HELP}")
    _check_client(settings, where)
    return settings


def _check_client(settings: ModelSettings, where: str) -> None:
    """Raise SettingsError for a client that the provider does not have."""
    provider, asks = settings.provider, settings.client
    if provider == LOCAL and asks == "langchain":
        raise SettingsError(
            f"{where}: the model on this machine has no class of LangChain's. Leave client out."
        )
    if asks == "http" and provider in CHAT_CLASSES and provider not in REMOTE:
        raise SettingsError(
            f"{where}: {provider} is asked by LangChain's class only. Leave client out; if it has an address "
            "that is compatible with OpenAI's, write that as base_url, and no provider."
        )
    if settings.params and not settings.by_langchain:
        raise SettingsError(
            f"{where}: params go to the constructor of LangChain's class, and our own client asks this "
            'model. Write client = "langchain", or put what the endpoint takes into extra_body.'
        )
    for name, value in settings.params.items():
        if name in OWN_PARAMS:
            raise SettingsError(f"{where}: {name!r} does not belong in params. Use {OWN_PARAMS[name]}.")
        _check_no_key(name, value, where)


def _check_no_key(name: str, value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for inner, part in value.items():
            _check_no_key(f"{name}.{inner}", part, where)
    elif isinstance(value, str) and names_key(name.rpartition(".")[2]) and not value.startswith("$"):
        raise SettingsError(
            f"{where}: params.{name} looks like a key. Keys go into the environment: name the variable by "
            f'api_key_env, or write params.{name} = "$NAME".'
        )


def environment_variable(role: str) -> str:
    """Return the name of the variable that binds a role."""
    return (
        ENVIRONMENT_PREFIX
        if role == DEFAULT_ROLE
        else f"{ENVIRONMENT_PREFIX}_{role.upper().replace('-', '_')}"
    )


def binding_of(role: str) -> Binding | None:
    """Return what binds the role: the environment as it is now, else the settings file."""
    variable = environment_variable(role)
    spec = os.environ.get(variable)
    if spec:
        return parse_binding(spec, f"the variable {variable}")
    return file_bindings().get(role)


def named_binding(name: str) -> Binding | None:
    """Return what a role's name stands for where a spec could stand: what the settings bind to the role."""
    return None if ":" in name or name in PROVIDERS else binding_of(name.lower())


def is_known(spec: str) -> bool:
    """Tell whether a text names only roles and models of the user's own settings, or the on-device model.

    A model is the same if it is asked at the same address with the same key.
    """
    if named_binding(spec) is not None:
        return True
    own = [
        (model.provider, model.model, model.address, key_variable(model))
        for role in bound_roles()
        for model in models_of(binding_of(role))
    ]
    return all(
        (model.provider == LOCAL and not model.model)
        or (model.provider, model.model, model.address, key_variable(model)) in own
        for model in models_of(parse_binding(spec, f"the model {spec!r}"))
    )


def models_of(binding: Binding | None) -> tuple[ModelSettings, ...]:
    """Return the models that a binding names, in the order in which they are asked."""
    if binding is None:
        return ()
    return binding.models if isinstance(binding, ChainSettings) else (binding,)


def bound_roles() -> list[str]:
    """Return the roles that the environment or the settings file binds."""
    prefix = f"{ENVIRONMENT_PREFIX}_"
    named = {
        name.removeprefix(prefix).lower()
        for name, spec in os.environ.items()
        if spec and name.startswith(prefix)
    }
    if os.environ.get(ENVIRONMENT_PREFIX):
        named.add(DEFAULT_ROLE)
    return sorted({*named, *file_bindings()})


def read_file(path: Path) -> dict[str, Binding]:
    """Return the roles that a settings file binds. Raises SettingsError that names the file."""
    models = read_tables(path).get("models", {})
    if not isinstance(models, dict):
        raise SettingsError(f"{path}: [models] must be a table that maps roles to models.")
    bindings = {}
    for role, spec in models.items():
        where = f"{path}, model role {role!r}"
        if not isinstance(spec, (str, dict, list)):
            raise SettingsError(f"{where}: expected a string, a table or a list. {SPEC_HELP}")
        bindings[role.lower()] = parse_binding(spec, where)
    return bindings


@cache
def file_bindings() -> dict[str, Binding]:
    """Return what the settings file of the working folder binds. It is read once in a process."""
    path = working_folders_file()
    return read_file(path) if path else {}


def is_loaded() -> bool:
    """Tell whether `binding_of` answers without reading a file."""
    return file_bindings.cache_info().currsize > 0
