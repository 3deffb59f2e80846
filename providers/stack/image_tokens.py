"""The most tokens that an image can be billed: by its size in pixels, never by the bytes of its file.

Sizes are read from the headers of PNG, JPEG, GIF and WebP. What is published:

- OpenAI's tiles (gpt-4o, gpt-4.1, o1, o3, gpt-5): the image is fitted into 2048 x 2048 pixels, then its short
  side into 768; 85 + 170 for each tile of 512 pixels, gpt-4o-mini 2,833 + 5,667. OpenAI's patches (its other
  models): one for 32 x 32 pixels, at most 1,536, times 2.46 at most; with detail "original" at most 10,000:
  https://platform.openai.com/docs/guides/images-vision
- Anthropic: a token for 28 x 28 pixels, at most 4,784:
  https://platform.claude.com/docs/en/build-with-claude/vision
- Gemini 2: 258 for each tile, of 768 pixels or less: https://ai.google.dev/gemini-api/docs/tokens; from
  Gemini 3 on 1,120, on request 2,240: https://ai.google.dev/gemini-api/docs/media-resolution
- Grok: 256 for each tile of 448 pixels, and for one more:
  https://awesomeagents.ai/guides/ai-vision-image-resolution-limits
- Open models: a token for 14 to 32 pixels squared, at most 16,384 (Qwen-VL:
  https://huggingface.co/Qwen/Qwen2-VL-7B-Instruct/discussions/47), or a fixed number up to 2,880.

A model whose rule is not known gets the largest of all: a token for each 16 x 16 pixels, no less than
SMALLEST and no more than LARGEST, and no less than Grok's.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

SQUARE_PX = 16
SMALLEST = 2_880
LARGEST = 16_384
LARGEST_4O_MINI = 2_833 + 8 * 5_667

_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def image_tokens(data: bytes, model: str = "") -> int:
    """Return the most tokens that an image can be billed; the largest number where its size is not known."""
    rule = next((rule for rule in _RULES if re.search(rule.models, model.lower())), _ANY)
    size = size_of(data)
    return rule.most if size is None or 0 in size else min(rule.most, rule.tokens(*size))


def _any(width: int, height: int) -> int:
    squares = -(-width // SQUARE_PX) * (-(-height // SQUARE_PX) + 1)
    return max(squares, _tiles(width, height, 448) * 256 + 256, SMALLEST)


def _openai_tiles(width: int, height: int) -> int:
    shrink = min(1.0, 2048 / max(width, height))
    shrink = min(shrink, 768 / min(width, height))
    return _tiles(math.ceil(width * shrink - 1e-6), math.ceil(height * shrink - 1e-6), 512)


def _gemini2(width: int, height: int) -> int:
    small = max(width, height) <= 384
    return 258 if small else 258 * max(6, 2 * _tiles(width, height, 768))


def _tiles(width: int, height: int, side: int) -> int:
    return -(-width // side) * -(-height // side)


@dataclass(frozen=True)
class _Rule:
    """How models of some names bill an image of so many pixels, and the most that they bill any."""

    models: str
    most: int
    tokens: Callable[[int, int], int]


_ANY = _Rule("", LARGEST, _any)
_RULES = (
    _Rule("4o-mini", LARGEST_4O_MINI, lambda w, h: 2_833 + 5_667 * _openai_tiles(w, h)),
    _Rule(
        r"^(openai/|openai:)?(gpt-4o|gpt-4\.1|gpt-4-turbo|o1|o3|gpt-5)(-20\d\d-\d\d-\d\d)?$",
        85 + 170 * 8,
        lambda w, h: 85 + 170 * _openai_tiles(w, h),
    ),
    _Rule("claude", 4_784, lambda w, h: _tiles(w, h, 28)),
    _Rule(r"gemini-[12]\b", LARGEST, _gemini2),
    _Rule("gemini-[3-9]", 2_240, lambda *_: 2_240),
)


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
