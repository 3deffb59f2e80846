"""Which model stands behind which role: model specs, `stepgraph.toml` and the environment."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..state.errors import SettingsError, did_you_mean

FILE_NAME = "stepgraph.toml"
DEFAULT_ROLE = "default"
ENVIRONMENT_PREFIX = "STEPGRAPH_MODEL"

Structured = Literal["json_schema", "json_object", "prompt"]


class Price(BaseModel):
    """US dollars per million tokens; `cached` input costs as much as `input` unless given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)


FREE = Price(input=0, output=0)


class ModelSettings(BaseModel):
    """One model at one endpoint, and how to use it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: str | None = None
    model: str = ""
    base_url: str | None = None
    api_key_env: str | None = None
    structured: Structured | None = None
    temperature: float | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, gt=0)
    timeout_s: float = Field(default=120, gt=0)
    retries: int = Field(default=2, ge=0, le=20)
    max_concurrency: int = Field(default=32, gt=0)
    price: Price | None = None


class Preset(BaseModel):
    """Where a provider is found, and which variable holds its key."""

    base_url: str
    api_key_env: str | None = None
    structured: Structured = "json_schema"


PRESETS: dict[str, Preset] = {
    "openai": Preset(base_url="https://api.openai.com/v1", api_key_env="OPENAI_API_KEY"),
    "openrouter": Preset(base_url="https://openrouter.ai/api/v1", api_key_env="OPENROUTER_API_KEY"),
    "together": Preset(base_url="https://api.together.xyz/v1", api_key_env="TOGETHER_API_KEY"),
    # DeepSeek's API documents JSON mode only, no schema.
    "deepseek": Preset(
        base_url="https://api.deepseek.com/v1",
        api_key_env="DEEPSEEK_API_KEY",
        structured="json_object",
    ),
    "vllm": Preset(base_url="http://localhost:8000/v1"),
    "ollama": Preset(base_url="http://localhost:11434/v1"),
}
LOCAL = "local"
PROVIDERS = (*PRESETS, LOCAL)

SPEC_HELP = (
    "Write 'local' (the on-device model), 'local:/path/to/model.gguf', or 'provider:model' with one of "
    f"{', '.join(PRESETS)}; for another endpoint, a table with base_url and model in {FILE_NAME}."
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
    for name in values:
        if name == "api_key":
            raise SettingsError(
                f"{where}: a key does not belong in a settings file. Put it in an environment "
                'variable and name the variable: api_key_env = "MY_KEY".'
            )
        if name not in ModelSettings.model_fields:
            hint = did_you_mean(name, ModelSettings.model_fields)
            raise SettingsError(f"{where}: unknown setting {name!r}. {hint}")
    try:
        settings = ModelSettings.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_url=False)
        )
        raise SettingsError(f"{where}: {problems}") from None
    return _checked(settings, where)


def _checked(settings: ModelSettings, where: str) -> ModelSettings:
    provider = settings.provider
    if provider is not None and provider not in PROVIDERS:
        raise SettingsError(
            f"{where}: unknown provider {provider!r}. {did_you_mean(provider, PROVIDERS)} {SPEC_HELP}"
        )
    if provider is None and settings.base_url is None:
        raise SettingsError(f"{where}: neither provider nor base_url is given. {SPEC_HELP}")
    address = urlsplit(settings.base_url or "")
    if address.username or address.password or address.query:
        raise SettingsError(
            f"{where}: base_url holds a user, a password or a query. Keys go into an environment variable, "
            "named by api_key_env."
        )
    if not settings.model and provider != LOCAL:
        raise SettingsError(f"{where}: no model is named. {SPEC_HELP}")
    return settings


def environment_variable(role: str) -> str:
    """Return the name of the variable that binds a role."""
    return (
        ENVIRONMENT_PREFIX
        if role == DEFAULT_ROLE
        else f"{ENVIRONMENT_PREFIX}_{role.upper().replace('-', '_')}"
    )


def binding_of(role: str) -> ModelSettings | None:
    """Return what binds the role: the environment as it is now, else the settings file."""
    variable = environment_variable(role)
    spec = os.environ.get(variable)
    if spec:
        return parse_spec(spec, f"the variable {variable}")
    return file_bindings().get(role)


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


def find_file(folder: Path) -> Path | None:
    """Return the settings file of this folder or the nearest one above it."""
    for candidate in (folder, *folder.parents):
        if (candidate / FILE_NAME).is_file():
            return candidate / FILE_NAME
    return None


def read_file(path: Path) -> dict[str, ModelSettings]:
    """Return the roles that a settings file binds. Raises SettingsError that names the file."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    for name in data:
        if name != "models":
            raise SettingsError(f"{path}: unknown table [{name}]. {did_you_mean(name, ['models'])}")
    models = data.get("models", {})
    if not isinstance(models, dict):
        raise SettingsError(f"{path}: [models] must be a table that maps roles to models.")
    return {
        role.lower(): parse_spec(spec, f"{path}, model role {role!r}")
        for role, spec in models.items()
        if _is_spec(role, spec, path)
    }


def _is_spec(role: str, spec: Any, path: Path) -> bool:
    if not isinstance(spec, (str, dict)):
        raise SettingsError(f"{path}, model role {role!r}: expected a string or a table. {SPEC_HELP}")
    return True


@cache
def file_bindings() -> dict[str, ModelSettings]:
    """Return what the settings file of the working folder binds. It is read once in a process."""
    path = find_file(Path.cwd())
    return read_file(path) if path else {}


def is_loaded() -> bool:
    """Tell whether `binding_of` answers without reading a file."""
    return file_bindings.cache_info().currsize > 0
