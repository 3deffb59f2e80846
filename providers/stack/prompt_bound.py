"""The most tokens that a request can have: text by its bytes, images and other media as providers bill them.

No tokenizer makes more tokens of a text than it has bytes of UTF-8. An image is billed by its size in pixels,
not by the bytes of its file; sizes are read from the headers of PNG, JPEG, GIF and WebP.

- OpenAI bills at most 1,536 tokens of 32 x 32 pixels times 2.46, or 85 + 170 for each of at most 8 tiles;
  gpt-4o-mini 2,833 + 5,667 a tile: https://platform.openai.com/docs/guides/images-vision
- Anthropic bills width x height / 750, at most 4,784: https://docs.claude.com/en/docs/build-with-claude/vision
- Gemini bills 258 a tile of 768 x 768 pixels: https://ai.google.dev/gemini-api/docs/tokens
- Open models bill a token for a square of 14 to 28 pixels, or a fixed number up to 2,880 for any image.

Hence a token for each 16 x 16 pixels, no less than SMALLEST and no more than LARGEST.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from ..model import Request

OVERHEAD_TOKENS = 16  # what chat templates and schemas add to the text of a message, at the very most
SQUARE_PX = 16
SMALLEST = 2_880
LARGEST = 16_384
LARGEST_4O_MINI = 2_833 + 8 * 5_667
BYTES_PER_S = 750  # of the most compressed speech
AUDIO_TOKENS_PER_S = 50

_IMAGES = frozenset({"image", "image_url", "input_image"})
_AUDIO = frozenset({"audio", "input_audio"})
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def bound_of(request: Request, model: str = "") -> int:
    """Return the most tokens that a request can have, for a model of this name."""
    media: list[int] = []
    messages = [_without_media(message, media, model) for message in request.messages]
    text = json.dumps([messages, request.schema, request.tools], ensure_ascii=False, default=str)
    return len(text.encode("utf-8", "replace")) + OVERHEAD_TOKENS * (1 + len(messages)) + sum(media)


def _without_media(message: Mapping[str, Any], media: list[int], model: str) -> Mapping[str, Any]:
    """Return the message with its images and sounds taken out, and add what they are billed."""
    content = message.get("content")
    if not isinstance(content, (list, tuple)):
        return message
    kept = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in _IMAGES:
            media.append(image_tokens(_data_in(part), model))
        elif kind in _AUDIO and (data := _data_in(part)):
            media.append(len(data) * AUDIO_TOKENS_PER_S // BYTES_PER_S + AUDIO_TOKENS_PER_S)
        else:
            kept.append(part)
    return {**message, "content": kept}


def image_tokens(data: bytes, model: str = "") -> int:
    """Return the most tokens that an image can be billed; the largest number where its size is not known."""
    largest = LARGEST_4O_MINI if "4o-mini" in model else LARGEST
    size = size_of(data)
    if size is None or largest != LARGEST:
        return largest
    width, height = size
    squares = -(-width // SQUARE_PX) * (-(-height // SQUARE_PX) + 1)
    return min(max(squares, SMALLEST), largest)


def size_of(data: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels, as the header of a PNG, GIF, WebP or JPEG file says."""
    try:
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return struct.unpack(">II", data[16:24])
        if data[:6] in (b"GIF87a", b"GIF89a"):
            return struct.unpack("<HH", data[6:10])
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
        return _jpeg_size(data) if data[:2] == b"\xff\xd8" else None
    except (struct.error, IndexError):
        return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 < len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4])
        if marker in _JPEG_SIZES:
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return width, height
        place += 2 + length if marker != 0xFF else 1
    return None


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
