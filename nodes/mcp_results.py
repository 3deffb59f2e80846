"""Results of MCP servers' tools, in a form that models can be shown: providers refuse a request with another.

A link is told, not followed. A file that no model reads is told with its type and size; a text in a file is
a text.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

from ..state.json_text import json_text

if TYPE_CHECKING:
    from mcp.types import CallToolResult

_IMAGES: Final = {"image/png", "image/jpeg", "image/gif", "image/webp", "image/heic", "image/heif"}
_TEXTS: Final = {"application/json", "application/xml", "application/yaml", "application/javascript"}


def readable(result: CallToolResult) -> CallToolResult:
    """Return a result with nothing in it but what the adapter reads and a model can be shown.

    What a tool that failed sends beside texts is told in words: a failure reaches the model as a text. A
    result with a structure and no text gets the structure as a text.
    """
    from mcp.types import TextContent

    content = [_readable(part, failed=bool(result.isError)) for part in result.content]
    if result.structuredContent is not None and not any(isinstance(p, TextContent) for p in content):
        content.append(TextContent(type="text", text=json_text(result.structuredContent)))
    return result.model_copy(update={"content": content})


def _readable(part: Any, *, failed: bool) -> Any:
    from mcp.types import (
        AudioContent,
        BlobResourceContents,
        EmbeddedResource,
        ImageContent,
        ResourceLink,
        TextContent,
    )
    from pydantic import AnyUrl

    if isinstance(part, ResourceLink):
        texts = [text for text in (part.title or part.name, part.mimeType, part.description) if text]
        return TextContent(type="text", text=f"[{part.uri} ({', '.join(texts)})]")
    if isinstance(part, ImageContent):
        form, data = _form_of(part.mimeType), _bytes_of(part.data)
        if failed or not data or form not in {"", *_IMAGES}:
            return _placeholder("an image", form, data)
        return part.model_copy(update={"mimeType": form, "data": _encoded(data)})
    if isinstance(part, AudioContent):
        form, data = _form_of(part.mimeType), _bytes_of(part.data)
        if failed or not data:
            return _placeholder("a sound", form, data)
        sound = BlobResourceContents(uri=AnyUrl("data:audio"), mimeType=form, blob=_encoded(data))
        return EmbeddedResource(type="resource", resource=sound)
    if isinstance(part, EmbeddedResource) and isinstance(part.resource, BlobResourceContents):
        form, data = _form_of(part.resource.mimeType), _bytes_of(part.resource.blob)
        if (text := _text_of(form, data)) is not None:
            return TextContent(type="text", text=text)
        known = form in _IMAGES or form == "application/pdf" or form.startswith("audio/")
        if failed or not data or not known:
            return _placeholder(f"the file {part.resource.uri}", form, data)
        resource = part.resource.model_copy(update={"mimeType": form, "blob": _encoded(data)})
        return part.model_copy(update={"resource": resource})
    return part


def _form_of(mime_type: str | None) -> str:
    """Return a media type without its parameters."""
    return (mime_type or "").partition(";")[0].strip().lower().replace("image/jpg", "image/jpeg")


def _bytes_of(data: str) -> bytes | None:
    """Return what base64 encodes, also over several lines; None for what is none."""
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _text_of(form: str, data: bytes | None) -> str | None:
    if data is None or not (form.startswith("text/") or form in _TEXTS or form.endswith(("+json", "+xml"))):
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _placeholder(what: str, form: str, data: bytes | None) -> Any:
    from mcp.types import TextContent

    size = "which is no base64" if data is None else f"{len(data):,} bytes"
    return TextContent(
        type="text", text=f"[{what} of type {form or 'unknown'}, {size}: it cannot be shown here]"
    )
