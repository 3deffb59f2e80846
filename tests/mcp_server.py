"""An MCP server for tests: a shop. `python mcp_server.py LOG [MODE]`; each start and call goes to LOG."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from pathlib import Path
from typing import Any

from mcp.server.fastmcp import Context, FastMCP
from mcp.shared.exceptions import McpError
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolRequest,
    CallToolResult,
    EmbeddedResource,
    ErrorData,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)
from pydantic import AnyUrl, BaseModel

PIXEL = base64.b64encode(b"\x89PNG").decode()
READS = ToolAnnotations(readOnlyHint=True)


class Confirmation(BaseModel):
    sure: bool
    note: str = "none"


def served(log: Path, **options: Any) -> FastMCP:
    shop = FastMCP("shop", log_level="ERROR", **options)

    def note(what: str) -> None:
        with log.open("a") as file:
            file.write(what + "\n")

    @shop.tool(annotations=READS)
    async def find_order(order: str) -> str:
        """Tell where an order is."""
        note(f"find {order}")
        return f"{order} is in Rome."

    @shop.tool()
    async def refund(order: str) -> str:
        """Pay an order back."""
        note(f"refund {order}")
        return f"{order} is paid back."

    @shop.tool(annotations=ToolAnnotations(idempotentHint=True))
    async def mark(order: str) -> str:
        """Mark an order."""
        note(f"mark {order}")
        return "marked"

    @shop.tool()
    async def cancel(order: str, ctx: Context[Any, Any, Any]) -> str:
        """Cancel an order, once a person is sure."""
        note(f"cancel {order}")
        answer = await ctx.elicit(f"Cancel {order}?", Confirmation)
        if answer.action != "accept" or not answer.data.sure:
            note(f"kept {order}: {answer.action}")
            return f"{order} is kept."
        note(f"cancelled {order}")
        return f"{order} is cancelled: {answer.data.note}."

    @shop.tool(annotations=READS)
    async def ask_first(order: str, ctx: Context[Any, Any, Any]) -> str:
        """Read an order that a person must allow to be read."""
        answer = await ctx.elicit(f"Show {order}?", Confirmation)
        return f"{order}: {answer.action}"

    @shop.tool(annotations=READS)
    async def fail(order: str) -> str:
        """Fail."""
        raise ValueError(f"no order {order}")

    @shop.tool(annotations=READS)
    async def die() -> str:
        """End the server."""
        print(f"out of stock, {os.environ.get('SHOP_KEY')}", file=sys.stderr, flush=True)
        os._exit(3)

    @shop.tool(annotations=READS)
    async def hang() -> str:
        """Never answer."""
        note("hang")
        try:
            await asyncio.sleep(3600)
        except BaseException:
            note("hang was cancelled")
            raise
        return ""

    @shop.tool(annotations=READS, structured_output=False)
    async def picture() -> Any:
        """Show the order."""
        text = TextResourceContents(uri=AnyUrl("file:///a.txt"), text="a receipt")
        return [
            TextContent(type="text", text="a kettle"),
            ImageContent(type="image", data=PIXEL, mimeType="image/png"),
            AudioContent(type="audio", data=PIXEL, mimeType="audio/wav"),
            EmbeddedResource(type="resource", resource=text),
        ]

    @shop.tool(annotations=READS, structured_output=False)
    async def attachments() -> Any:
        """Show what is attached to the order."""
        archive = BlobResourceContents(uri=AnyUrl("file:///a.zip"), mimeType="application/zip", blob=PIXEL)
        return [
            ResourceLink(type="resource_link", name="manual", uri=AnyUrl("file:///manual.pdf")),
            ImageContent(type="image", data="no base64!", mimeType="image/png"),
            EmbeddedResource(type="resource", resource=archive),
        ]

    @shop.tool(annotations=READS, structured_output=False)
    async def show_fault() -> CallToolResult:
        """Fail with a picture of the fault."""
        shown = ImageContent(type="image", data=PIXEL, mimeType="image/png")
        return CallToolResult(content=[TextContent(type="text", text="It broke."), shown], isError=True)

    @shop.tool(annotations=READS)
    async def count() -> dict[str, int]:
        """Count the orders."""
        return {"orders": 7}

    @shop.tool(annotations=READS)
    async def environment() -> str:
        """Tell what the server sees."""
        return " ".join(sorted(os.environ))

    return shop


def main(log: Path, mode: str) -> None:
    if mode == "banner":
        print("Welcome to the shop!", flush=True)
    log.with_suffix(".pid").write_text(str(os.getpid()))
    with log.open("a") as file:
        file.write("start\n")
    shop = served(log)
    if mode.startswith("-32"):  # an error of the protocol, which is no result of a tool

        async def refuse(_: Any) -> Any:
            raise McpError(ErrorData(code=int(mode), message="not like this"))

        shop._mcp_server.request_handlers[CallToolRequest] = refuse
    try:
        shop.run("stdio")
    finally:
        with log.open("a") as file:
            file.write("end\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(sys.argv[2:] or ["plain"]))
