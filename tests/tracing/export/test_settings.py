"""Where traces go, by settings file and environment; keys stay out of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepgraph.state.errors import SettingsError
from stepgraph.state.masking import Rule
from stepgraph.tracing.export.settings import read_settings


@pytest.fixture(autouse=True)
def _no_destinations(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY", "LANGFUSE_BASE_URL", "LANGFUSE_HOST"):
        monkeypatch.delenv(name, raising=False)
    for name in ("ENDPOINT", "TRACES_ENDPOINT", "HEADERS", "TRACES_HEADERS"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)


def write(folder: Path, text: str) -> None:
    (folder / "stepgraph.toml").write_text(text)


def test_nothing_is_sent_unless_somebody_says_where(tmp_path: Path) -> None:
    assert read_settings(tmp_path).destinations == ()


def test_langfuses_own_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-1")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-2")
    monkeypatch.setenv("LANGFUSE_HOST", "https://langfuse.example.org/")
    (found,) = read_settings(tmp_path).destinations
    assert found.url == "https://langfuse.example.org/api/public/otel/v1/traces"
    assert found.headers["Authorization"] == "Basic cGstbGYtMTpzay1sZi0y"
    assert "sk-lf-2" not in repr(found)
    assert "Basic" not in repr(found)
    monkeypatch.setenv("LANGFUSE_TRACING_ENABLED", "false")
    assert read_settings(tmp_path).destinations == ()


def test_opentelemetrys_own_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:6006")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20x,a=b")
    (found,) = read_settings(tmp_path).destinations
    assert (found.url, dict(found.headers)) == (
        "http://127.0.0.1:6006/v1/traces",
        {"Authorization": "Bearer x", "a": "b"},
    )


def test_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "k")
    write(
        tmp_path,
        """
        [tracing]
        environment = "staging"
        version = "1.2"
        sample = 0.25
        mask = { customer = 'C-\\d+' }
        [[tracing.otlp]]
        name = "phoenix"
        url = "http://127.0.0.1:6006/v1/traces"
        headers_env = { authorization = "MY_KEY" }
        """,
    )
    settings = read_settings(tmp_path)
    (found,) = settings.destinations
    assert (found.name, found.headers["authorization"]) == ("otlp phoenix", "k")
    assert (settings.sample, settings.labels) == (0.25, {"environment": "staging", "version": "1.2"})
    assert found.mask.text("C-12 ada@example.org") == "[customer] [email]"
    assert settings.stored_mask.text("C-12 ada@example.org") == "[customer] ada@example.org"
    further = settings.masked_by(Rule("tea", "tea")).destinations[0]
    assert further.mask.text("C-12 tea") == "[customer] [tea]"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[tracing]\nsampel = 1", "sampel"),
        ("[tracing]\nsample = 2", "sample"),
        ("[tracing]\nmask = { x = '(' }", "no regular expression"),
        ("[[tracing.otlp]]\nurl = 'http://x'\nheaders_env = { a = 'NOT_SET' }", "NOT_SET is not set"),
        ("[[tracing.otlp]]\nurl = 'http://x'\nheaders = { api-key = 'k' }", "headers_env"),
        ("[tracing", "cannot be read"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, told: str) -> None:
    write(tmp_path, text)
    with pytest.raises(SettingsError, match=told):
        read_settings(tmp_path)
