"""The most tokens that a request can have, known before it is sent.

Text counts by its bytes: no tokenizer makes more tokens of a text than it has bytes of UTF-8. Where the
model's own tokenizer can be asked, its count takes the place of the bytes, see `Backend.count_tokens`.
Images, sounds, videos and documents count by what providers bill for their size, length or pages:
image_tokens.py, file_tokens.py.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..model import Message, Request
from .file_tokens import UNKNOWN, audio_tokens, document_tokens, video_tokens
from .image_tokens import image_tokens

OVERHEAD_TOKENS = 16  # what chat templates add to the text of a message, at the very most
ORDER_BYTES = 128  # what a schema is introduced with where it goes into the prompt

_IMAGES = frozenset({"image", "image_url", "input_image"})
_AUDIO = frozenset({"audio", "input_audio", "audio_url"})
_VIDEO = frozenset({"video", "video_url", "input_video"})
_FILES = frozenset({"file", "input_file", "document", "media", "file_url"})


def bound_of(request: Request, model: str = "") -> int:
    """Return the most tokens that a request can have, for a model of this name."""
    text, media = split_media(request, model)
    return text_bound(text) + media


def text_bound(request: Request) -> int:
    """Return the bytes of a request without media, and the most that a chat template adds."""
    text = json.dumps(request.messages, ensure_ascii=False, default=str)
    # As they stand in a prompt: with \\u for letters beyond ASCII.
    parts = [json.dumps(part, default=str) for part in (request.schema, *request.tools) if part is not None]
    size = len(text.encode("utf-8", "replace")) + sum(len(part) + ORDER_BYTES for part in parts)
    return size + OVERHEAD_TOKENS * (1 + len(request.messages))


def split_media(request: Request, model: str = "", unknown: int | None = None) -> tuple[Request, int]:
    """Return the request without its media, and the most that these can be billed.

    A file that cannot be looked into counts as `unknown`, if that is given.
    """
    media: list[int] = []
    messages = tuple(_without_media(message, media, model) for message in request.messages)
    if unknown is not None:
        media = [unknown if tokens >= UNKNOWN else tokens for tokens in media]
    return (replace(request, messages=messages) if media else request), sum(media)


def unknown_files(request: Request, model: str = "") -> int:
    """Return how many files of a request cannot be looked into: those behind an address, say."""
    media: list[int] = []
    for message in request.messages:
        _without_media(message, media, model)
    return sum(tokens >= UNKNOWN for tokens in media)


def _without_media(message: Message, media: list[int], model: str) -> Message:
    content = message.get("content")
    if not isinstance(content, (list, tuple)):
        return message
    kept = []
    for part in content:
        tokens = _media_tokens(part, model) if isinstance(part, Mapping) else None
        if tokens is None:
            kept.append(part)
        else:
            media.append(tokens)
    return {**message, "content": kept}


def _media_tokens(part: Mapping[str, Any], model: str) -> int | None:
    """Return the most that a part of a message can be billed, None if it is no medium."""
    kind = str(part.get("type"))
    if kind in _IMAGES:
        return image_tokens(_data_in(part), model)
    if kind not in _AUDIO | _VIDEO | _FILES:
        return None
    plain = _plain_text(part)
    if plain is not None:
        return len(plain.encode("utf-8", "replace")) + OVERHEAD_TOKENS
    data, mime = _data_in(part), _mime_in(part)
    if kind in _AUDIO or mime.startswith("audio/"):
        return audio_tokens(data) if data else UNKNOWN
    if kind in _VIDEO or mime.startswith("video/"):
        return video_tokens(data, model)
    return image_tokens(data, model) if mime.startswith("image/") else document_tokens(data, model)


def _plain_text(part: Mapping[str, Any]) -> str | None:
    """Return the text of a document that is sent as plain text."""
    source = part.get("source")
    if isinstance(source, Mapping) and source.get("type") == "text":
        return str(source.get("data", ""))
    return str(part.get("text", "")) if part.get("source_type") == "text" else None


def _mime_in(value: Any) -> str:
    """Return the media type that a part of a message names, in a field or in a data address."""
    if isinstance(value, str):
        match = re.match(r"data:([\w.+-]+/[\w.+-]+)", value)
        return match[1].lower() if match else ""
    if not isinstance(value, Mapping):
        return ""
    named = value.get("mime_type") or value.get("media_type") or value.get("mimeType")
    return str(named).lower() if named else next(filter(None, map(_mime_in, value.values())), "")


def _data_in(part: Mapping[str, Any]) -> bytes:
    """Return the bytes that a part of a message holds, b"" for an address."""
    for text in _texts(part):
        encoded = re.sub(r"^data:[^,]*,", "", text) if text.startswith("data:") else text
        if text.startswith("data:") or len(text) > 64:
            try:
                return base64.b64decode(encoded + "=" * (-len(encoded) % 4))
            except (binascii.Error, ValueError):
                continue
    return b""


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str) and not value.startswith(("http:", "https:")):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
