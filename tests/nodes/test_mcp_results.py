"""What a model is shown of a result of an MCP server's tool, however odd the result is."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from mcp.types import CallToolResult

from stepgraph import MCPServer, ScriptedModel, Session, ToolCall, agent, run, using
from stepgraph.nodes.mcp_results import readable

from .mcp_cases import (
    Desk,
    Shop,
    Ticket,
    assist,
    desk as desk,
    log as log,
    served_shop as served_shop,
    shop as shop,
    stdio as stdio,
)

DATA = base64.b64encode(b"\x89PNG").decode()
CSV = base64.b64encode("a,ü".encode()).decode()


def image(data: str = DATA, form: str = "image/png") -> dict[str, Any]:
    return {"type": "image", "data": data, "mimeType": form}


def sound(data: str = DATA, form: str = "audio/wav") -> dict[str, Any]:
    return {"type": "audio", "data": data, "mimeType": form}


def blob(data: str = DATA, form: str | None = None, uri: str = "file:///a") -> dict[str, Any]:
    held = {"uri": uri, "blob": data, **({} if form is None else {"mimeType": form})}
    return {"type": "resource", "resource": held}


def link(**more: Any) -> dict[str, Any]:
    return {"type": "resource_link", "name": "r", "uri": "shop://orders/7", **more}


TEXT = {"type": "text", "text": "so"}


@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        ([], []),
        ([TEXT], ["so"]),
        ([image()], ["image"]),
        ([image(form="image/PNG; charset=binary")], ["image"]),
        ([image(form="image/jpg")], ["image"]),
        ([image(data=f"{DATA[:4]}\n{DATA[4:]}")], ["image"]),
        ([image(form="")], ["image"]),
        ([image(form="image/tiff")], ["[an image of type image/tiff, 4 bytes: it cannot be shown here]"]),
        ([image(data="")], ["[an image of type image/png, 0 bytes: it cannot be shown here]"]),
        ([image(data="?")], ["[an image of type image/png, which is no base64: it cannot be shown here]"]),
        ([sound()], ["resource"]),
        ([sound(data="?")], ["[a sound of type audio/wav, which is no base64: it cannot be shown here]"]),
        ([link()], ["[shop://orders/7 (r)]"]),
        ([link(mimeType="image/png", description="it")], ["[shop://orders/7 (r, image/png, it)]"]),
        ([blob(form="application/pdf")], ["resource"]),
        ([blob(form="image/png")], ["resource"]),
        ([blob(CSV, "text/csv; charset=utf-8")], ["a,ü"]),
        ([blob(CSV, "application/ld+json")], ["a,ü"]),
        ([blob(form="application/zip")],
         ["[the file file:///a of type application/zip, 4 bytes: it cannot be shown here]"]),
        ([blob()], ["[the file file:///a of type unknown, 4 bytes: it cannot be shown here]"]),
        ([blob(form="text/plain")],
         ["[the file file:///a of type text/plain, 4 bytes: it cannot be shown here]"]),
    ],
    ids=str,
)  # fmt: skip
def test_a_part_is_shown_or_told(parts: list[Any], shown: list[str]) -> None:
    result = readable(CallToolResult.model_validate({"content": parts}))
    assert [getattr(part, "text", part.type) for part in result.content] == shown


@pytest.mark.parametrize(
    "part", [image(), sound(), blob(form="application/pdf")], ids=lambda part: part["type"]
)
def test_a_failure_is_told_in_words(part: dict[str, Any]) -> None:
    result = readable(CallToolResult.model_validate({"content": [TEXT, part], "isError": True}))
    assert [part.type for part in result.content] == ["text", "text"]
    assert DATA not in result.model_dump_json()


@pytest.mark.parametrize(("parts", "texts"), [([], 1), ([image()], 1), ([TEXT], 1), ([TEXT, image()], 1)])
def test_a_structure_is_shown_where_no_text_is(parts: list[Any], texts: int) -> None:
    result = readable(CallToolResult.model_validate({"content": parts, "structuredContent": {"ü": 1}}))
    found = [part.text for part in result.content if part.type == "text"]
    assert len(found) == texts
    assert found[0] == "so" or json.loads(found[0]) == {"ü": 1}


def check_what_is_shown(desk: Desk) -> None:
    attached, fault = desk.results()
    manual, picture, archive = attached.splitlines()
    assert manual == "[file:///manual.pdf (manual)]"
    assert "no base64" in picture
    assert "application/zip" in archive
    assert fault.startswith("show_fault failed: It broke.\n[an image of type image/png")


CALLS = [[ToolCall("attachments", {}), ToolCall("show_fault", {})], "Done."]


def test_odd_results_end_no_run_over_http(desk: Desk, shop: Shop) -> None:
    assert desk([shop()], CALLS).values["reply"] == "Done."
    check_what_is_shown(desk)


def test_odd_results_end_no_run_over_stdio(desk: Desk, stdio: Callable[..., MCPServer]) -> None:
    assert desk([stdio()], CALLS).values["reply"] == "Done."
    check_what_is_shown(desk)


def test_a_part_that_no_model_can_be_shown_ends_no_run(session: Session) -> None:
    """Whichever tool it is of; the tool did its work, so that is no failure of it."""

    def look() -> list[dict[str, Any]]:
        """Look."""
        return [{"type": "text", "text": "Here:"}, {"type": "image", "base64": "?", "mime_type": "image/png"}]

    model = ScriptedModel([ToolCall("look", {}), "Done."])
    with using(model):
        assert run(agent(assist, tools=[look]).compile(), Ticket(), session, "t").values["reply"] == "Done."
    (result,) = [message for message in model.asks[-1][1].messages if message["role"] == "tool"]
    assert result["content"].startswith("Here:\n[a part of the result that cannot be shown: The `base64`")
