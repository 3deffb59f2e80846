"""A file behind an address counts for a budget as what the settings say that it has at most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from stepgraph import Ask, Budget, Session, chain, run, step, using
from stepgraph.providers.model import Request
from stepgraph.providers.stack.file_tokens import UNKNOWN
from stepgraph.providers.stack.prompt_bound import split_media, unknown_files

from ...servers import ChatServer

FILES: dict[str, dict[str, Any]] = {
    "document": {"type": "file", "url": "https://files.example/a.pdf", "mime_type": "application/pdf"},
    "sound": {"type": "audio", "url": "https://files.example/a.mp3", "mime_type": "audio/mpeg"},
    "film": {"type": "video", "url": "https://files.example/a.mp4", "mime_type": "video/mp4"},
    "id": {"type": "file", "file_id": "file-1"},
}


@dataclass
class Paper:
    file: str
    said: str = ""


@step("said")
def read(paper: Paper) -> Ask[str]:
    return Ask([HumanMessage([{"type": "text", "text": "What is it?"}, FILES[paper.file]])])


@pytest.mark.parametrize("name", FILES)
def test_it_counts_as_the_settings_say(name: str) -> None:
    request = Request(({"role": "user", "content": [{"type": "text", "text": "x"}, FILES[name]]},))
    assert unknown_files(request) == 1
    assert split_media(request)[1] == UNKNOWN
    assert split_media(request, unknown=20_000)[1] == 20_000


@pytest.mark.parametrize("name", ["document", "id"])
@pytest.mark.parametrize("file_tokens", [None, 20_000, 90_000])
def test_a_budget_that_ends_by_it_says_what_to_set(
    session: Session, server: ChatServer, name: str, file_tokens: int | None
) -> None:
    settings = {} if file_tokens is None else {"file_tokens": file_tokens}
    with using({"base_url": server.url, "model": "m", **settings}):
        result = run(chain(read).compile(), Paper(name), session=session, budget=Budget(tokens=50_000))
    if file_tokens == 20_000:
        assert result.status == "done"
        return
    assert (result.status, result.spent.calls) == ("partial", 0)
    assert result.limit is not None
    assert ("file_tokens" in result.limit) == (file_tokens is None)
    assert ("1,048,576 tokens" in result.limit) == (file_tokens is None)
