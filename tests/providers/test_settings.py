from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from stepgraph.providers.prices import HourlyPrice, Price
from stepgraph.providers.settings import (
    FILE_NAME,
    ModelSettings,
    binding_of,
    bound_roles,
    file_bindings,
    find_file,
    is_known,
    parse_spec,
    read_file,
)
from stepgraph.state.errors import SettingsError
from stepgraph.state.settings_file import SettingsFileWarning


def write(folder: Path, text: str) -> Path:
    path = folder / FILE_NAME
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("spec", "settings"),
    [
        ("local", ModelSettings(provider="local")),
        ("local:/m/x.gguf", ModelSettings(provider="local", model="/m/x.gguf")),
        ("openai:gpt-5-mini", ModelSettings(provider="openai", model="gpt-5-mini")),
        ("ollama:qwen3:4b", ModelSettings(provider="ollama", model="qwen3:4b")),
        (
            {"base_url": "http://h/v1", "model": "m", "price": {"input": 1, "output": 2}},
            ModelSettings(base_url="http://h/v1", model="m", price=Price(input=1, output=2)),
        ),
        (
            {"provider": "vllm", "model": "m", "price": {"per_hour": 2.5}},
            ModelSettings(provider="vllm", model="m", price=HourlyPrice(per_hour=2.5)),
        ),
    ],
)
def test_a_spec_becomes_settings(spec: Any, settings: ModelSettings) -> None:
    assert parse_spec(spec, "here") == settings


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("", "'' is not a model spec"),
        ("http://localhost/v1", "is not a model spec.*a table with base_url"),
        ("opnai:gpt-5", r"unknown provider 'opnai'\. Did you mean 'openai'\?"),
        ("openai", "no model is named"),
        ("openai:", "no model is named"),
        ({"model": "m"}, "neither provider nor base_url"),
        ({"provider": "openai", "modl": "m"}, r"unknown setting 'modl'\. Did you mean 'model'\?"),
        ({"provider": "openai", "model": "m", "api_key": 1}, "api_key: Input should be a valid string"),
        (
            {"provider": "openai", "model": "m", "retries": -1},
            "retries: Input should be greater than or equal",
        ),
        ({"provider": "openai", "model": "m", "price": {"inptu": 1}}, r"price\.input: Field required"),
        ({"provider": "openai", "model": "m", "structured": "yaml"}, "structured: Input should be"),
    ],
)
def test_a_spec_that_cannot_be_used_is_explained(spec: Any, problem: str) -> None:
    with pytest.raises(SettingsError, match=f"^here: .*{problem}") as caught:
        parse_spec(spec, "here")
    assert "sk-1" not in str(caught.value)


def test_a_settings_file_binds_roles(tmp_path: Path) -> None:
    text = '[models]\nDefault = "local"\n[models.large]\nprovider = "openai"\nmodel = "gpt-5"\n'
    assert read_file(write(tmp_path, text)) == {
        "default": ModelSettings(provider="local"),
        "large": ModelSettings(provider="openai", model="gpt-5"),
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[models", "cannot be read"),
        ("[model]\n", r"unknown table \[model\]. Did you mean 'models'\?"),
        ("models = 3", r"\[models\] must be a table"),
        ("[models]\nlarge = 3", "model role 'large': expected a string, a table or a list"),
        ('[models]\nlarge = "opnai:x"', "model role 'large': unknown provider 'opnai'"),
        ('[models.large]\nmodel = "m"\napi_key = "sk-123"', "neither provider nor base_url"),
    ],
)
def test_an_error_in_a_settings_file_names_the_file(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=rf"stepgraph\.toml.*{problem}") as caught:
        read_file(write(tmp_path, text))
    assert "sk-123" not in str(caught.value)


def test_the_file_is_found_in_this_folder_or_above(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert find_file(tmp_path / "a" / "b") == path


def test_the_environment_binds_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, '[models]\nlarge = "local"\nsmall = "local"\n')
    monkeypatch.setenv("STEPGRAPH_MODEL_LARGE", "openai:gpt-5")
    assert binding_of("large") == ModelSettings(provider="openai", model="gpt-5")
    assert binding_of("small") == ModelSettings(provider="local")
    assert binding_of("other") is None
    monkeypatch.setenv("STEPGRAPH_MODEL", "local")
    assert bound_roles() == ["default", "large", "small"]


def test_an_error_in_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPGRAPH_MODEL_LARGE", "gpt-5")
    with pytest.raises(SettingsError, match="the variable STEPGRAPH_MODEL_LARGE: unknown provider 'gpt-5'"):
        binding_of("large")


def test_the_file_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, '[models]\nlarge = "local"\n')
    assert list(file_bindings()) == ["large"]
    write(tmp_path, "broken")
    assert list(file_bindings()) == ["large"]


@pytest.mark.parametrize("end", [".git", "home"])
def test_the_search_ends_at_the_repository_and_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    write(tmp_path, "")
    inner = tmp_path / "inner"
    (inner / "deep").mkdir(parents=True)
    if end == "home":
        monkeypatch.setenv("HOME", str(inner))
    else:
        (inner / end).mkdir()
    assert find_file(inner / "deep") is None
    own = write(inner, "")
    assert find_file(inner / "deep") == own


@pytest.mark.parametrize("kind", ["strangers", "open", "strangers link"])
def test_a_file_that_others_may_have_written_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    above = write(tmp_path, "")
    inner = tmp_path / "inner"
    inner.mkdir()
    found = write(inner, "")
    if kind == "open":
        found.chmod(0o646)
    else:
        if kind == "strangers link":
            found.rename(inner / "other.toml")
            found.symlink_to(inner / "other.toml")
        real = Path.lstat

        def lstat(path: Path) -> os.stat_result:
            row = list(real(path))
            if path == found:
                row[4] = os.getuid() + 1
            return os.stat_result(row)

        monkeypatch.setattr(Path, "lstat", lstat)
    with pytest.warns(SettingsFileWarning, match="does not count"):
        assert find_file(inner) == above


def test_models_on_record_count_if_the_users_own_settings_know_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://127.0.0.1:9/v1"
    write(tmp_path, f'[models]\nlarge = "openai:gpt-5"\nother = {{base_url = "{url}", model = "m"}}\n')
    monkeypatch.setenv("STEPGRAPH_MODEL_SMALL", "together:llama")
    for known in ("local", "large", "OTHER", "openai:gpt-5", "together:llama", "openai:gpt-5,local"):
        assert is_known(known)
    for strange in ("openai:gpt-5-pro", "together:llama,deepseek:m", "local:/tmp/x.gguf", "ollama:gpt-5"):
        assert not is_known(strange)
    for broken in ("", "m", url, "openai", "nobody:m"):
        with pytest.raises(SettingsError):
            is_known(broken)
