"""What an image is billed, to the token, on both sides of each edge of the providers' rules."""

from __future__ import annotations

import struct

import pytest

from stepgraph.providers.stack.image_tokens import LARGEST, LARGEST_4O_MINI, SMALLEST, image_tokens


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"\0" * 8 + struct.pack(">II", width, height) + b"\x08\x02"


@pytest.mark.parametrize(
    ("model", "width", "height", "tokens"),
    [
        ("", 100, 100, SMALLEST),
        ("", 800, 1200, 50 * 76),
        ("", 801, 1200, 51 * 76),
        ("", 800, 1201, 50 * 77),
        ("", 448 * 20, 1, 20 * 256 + 256),
        ("", 448 * 20 + 1, 1, 21 * 256 + 256),
        ("", 3000, 3000, LARGEST),
        ("gpt-4o", 512, 512, 85 + 170),
        ("gpt-4o", 513, 512, 85 + 170 * 2),
        ("openai/gpt-4.1-2025-04-14", 1024, 1024, 85 + 170 * 4),
        ("O3", 4096, 8192, 85 + 170 * 6),
        ("gpt-5", 100, 4096, 85 + 170 * 4),
        ("gpt-5", 100, 2049, 85 + 170 * 4),
        ("gpt-5-mini", 512, 512, SMALLEST),
        ("gpt-4o-mini", 512, 512, 2_833 + 5_667),
        ("claude-x", 28, 28, 1),
        ("claude-x", 29, 28, 2),
        ("claude-x", 28, 29, 2),
        ("claude-x", 5000, 5000, 4_784),
        ("google/gemini-2.5-flash", 384, 384, 258),
        ("gemini-2.5-flash", 385, 1, 258 * 6),
        ("gemini-1.5-pro", 1, 385, 258 * 6),
        ("gemini-2.5-flash", 768 * 4, 768, 258 * 8),
        ("gemini-2.5-flash", 768 * 4, 769, 258 * 16),
        ("gemini-2.5-flash", 10_000, 10_000, LARGEST),
        ("gemini-3-pro", 1, 1, 2_240),
    ],
)
def test_an_image_is_billed_by_its_size(model: str, width: int, height: int, tokens: int) -> None:
    assert image_tokens(png(width, height), model) == tokens


@pytest.mark.parametrize(
    ("model", "most"),
    [("", LARGEST), ("gpt-4o-mini", LARGEST_4O_MINI), ("gpt-4o", 85 + 170 * 8), ("claude", 4_784)],
)
@pytest.mark.parametrize("data", [b"", b"GIF89a", png(0, 5), png(5, 0)])
def test_one_of_an_unknown_size_is_billed_the_most(data: bytes, model: str, most: int) -> None:
    assert image_tokens(data, model) == most
