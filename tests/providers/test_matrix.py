"""What works with which provider: measured here, and compared with the table in docs/providers.md.

`STEPGRAPH_WRITE_DOCS=1 pytest tests/providers/test_matrix.py` writes the table anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stepgraph.providers.backends.ondevice import shipped_weights, start_server
from stepgraph.providers.chat_classes import CHAT_CLASSES
from stepgraph.providers.sources import NOT_CONFIRMED

from ..imitator import KEY, Imitator
from ..imitators import IMITATORS, OpenAI
from ..imitators_of_classes import CLASS_IMITATORS
from .matrix_features import FEATURES, ByClass, Subject

DOC = Path(__file__).parents[2] / "docs" / "providers.md"


TITLES = {
    "openai": "OpenAI, http",
    "ByOpenAI": "OpenAI, langchain",
    "Responses": "OpenAI, Responses API",
    "Azure": "Azure OpenAI",
    "Anthropic": "Anthropic",
    "Gemini": "Google Gemini",
    "vllm": "vLLM",
    "deepseek": "DeepSeek",
    "together": "Together AI",
    "openrouter": "OpenRouter",
    "ollama": "Ollama",
    "local": "llama.cpp",
}


def read_table() -> dict[str, dict[str, str]]:
    """Return the table in the docs: provider to feature to cell."""
    if not DOC.exists():
        return {}
    found = re.search(r"<!-- matrix -->\n(.*?)\n<!-- end -->", DOC.read_text(encoding="utf-8"), re.DOTALL)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (found[1] if found else "").splitlines()
    ]
    if not rows:
        return {}
    return {title: {row[0]: row[at] for row in rows[2:]} for at, title in enumerate(rows[0]) if at}


def write_column(title: str, column: dict[str, str]) -> None:
    table = {**read_table(), title: column}
    titles = [name for name in TITLES.values() if name in table]
    lines = ["| | " + " | ".join(titles) + " |", "|---|" + "---|" * len(titles)]
    lines += [
        f"| {feature} | " + " | ".join(table[name].get(feature, "?") for name in titles) + " |"
        for feature in FEATURES
    ]
    text = DOC.read_text(encoding="utf-8")
    new = "<!-- matrix -->\n" + "\n".join(lines) + "\n<!-- end -->"
    DOC.write_text(
        re.sub(r"<!-- matrix -->.*?<!-- end -->", lambda _: new, text, flags=re.DOTALL), encoding="utf-8"
    )


def shown(source: str) -> str:
    """Return a source as the docs have it."""
    page, _, day = source.removeprefix(f"{NOT_CONFIRMED}: ").partition(" ")
    if source.startswith(NOT_CONFIRMED):
        return f"{NOT_CONFIRMED}: [page]({page})"
    if page.startswith("https://"):
        return f"[source]({page}){f', read {day[1:-1]}' if day else ''}"
    return f"`{source}`"


def deviations() -> str:
    """Return the list of what the imitators do otherwise, as the docs have it."""
    parts = []
    for kind in (*IMITATORS, *CLASS_IMITATORS):
        lines = [f"- {d.what} ({shown(d.source)})" for d in kind.deviations]
        title = TITLES.get(kind.__name__) or TITLES[kind.provider].removesuffix(", http")
        parts.append(f"**{title}**\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


async def column_of(subject: Subject) -> dict[str, str]:
    return {feature: await measure(subject) for feature, measure in FEATURES.items()}


def compare(provider: str, column: dict[str, str]) -> None:
    if os.environ.get("STEPGRAPH_WRITE_DOCS"):
        write_column(TITLES[provider], column)
    assert read_table()[TITLES[provider]] == column


@contextmanager
def imitated(kind: type[Imitator]) -> Iterator[Subject]:
    with kind() as server:
        yield Subject(kind.provider, server.url, KEY, server)


@pytest.mark.parametrize("kind", IMITATORS, ids=lambda kind: kind.provider)
async def test_the_docs_say_what_was_measured(kind: type[Imitator]) -> None:
    with imitated(kind) as subject:
        compare(kind.provider, await column_of(subject))


@pytest.mark.filterwarnings("ignore:Inheritance class Aiohttp:DeprecationWarning")  # google-genai
@pytest.mark.parametrize("kind", [OpenAI, *CLASS_IMITATORS], ids=lambda kind: kind.__name__)
async def test_the_docs_say_what_langchains_classes_do(
    kind: type[Imitator], monkeypatch: pytest.MonkeyPatch
) -> None:
    for known in CHAT_CLASSES.values():
        monkeypatch.delenv(known.api_key_env or "", raising=False)
    with kind() as server:
        subject = ByClass(kind.provider, server.url, KEY, server)
        compare("ByOpenAI" if kind is OpenAI else kind.__name__, await column_of(subject))


@pytest.mark.local
async def test_the_docs_say_what_llama_cpp_does() -> None:
    running = start_server(shipped_weights())
    compare("local", await column_of(Subject("local", f"{running.address}/v1", running.key, None)))


def test_the_docs_name_every_deviation_and_its_source() -> None:
    pattern = r"(<!-- deviations -->\n).*?(\n<!-- end -->)"
    text = DOC.read_text(encoding="utf-8")
    if os.environ.get("STEPGRAPH_WRITE_DOCS"):
        text = re.sub(pattern, lambda m: m[1] + deviations() + m[2], text, flags=re.DOTALL)
        DOC.write_text(text, encoding="utf-8")
    found = re.search(pattern, text, re.DOTALL)
    assert found is not None
    assert found[0].split("\n", 1)[1].rsplit("\n", 1)[0] == deviations()
