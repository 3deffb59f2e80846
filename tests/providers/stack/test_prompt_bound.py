"""The bound of a request: text by its bytes, an image by its pixels, whatever form it has."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from hypothesis import given, strategies as st

from stepgraph.providers.model import Request
from stepgraph.providers.stack.prompt_bound import LARGEST, SMALLEST, bound_of, image_tokens, size_of

W, H = 1024, 700


def png(width: int = W, height: int = H) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(200_000)


FILES = {
    "png": png(),
    "gif": b"GIF89a" + struct.pack("<HH", W, H) + bytes(99),
    "jpeg": b"\xff\xd8\xff\xe0" + struct.pack(">H", 16) + bytes(14) + b"\xff\xc0"
    + struct.pack(">HBHH", 17, 8, H, W) + bytes(99),
    "webp": b"RIFF\0\0\0\0WEBPVP8X" + bytes(8)
    + (W - 1).to_bytes(3, "little") + (H - 1).to_bytes(3, "little"),
    "lossless": b"RIFF\0\0\0\0WEBPVP8L" + bytes(4) + b"\x2f" + ((H - 1) << 14 | W - 1).to_bytes(4, "little"),
    "lossy": b"RIFF\0\0\0\0WEBPVP8 " + bytes(10) + struct.pack("<HH", W, H),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_sizes_are_read_from_headers(kind: str) -> None:
    assert size_of(FILES[kind]) == (W, H)


@given(st.binary(max_size=60), st.sampled_from(list(FILES)), st.integers(0, 60))
def test_a_broken_header_is_no_error(noise: bytes, kind: str, cut: int) -> None:
    size_of(FILES[kind][:cut] + noise)
    assert SMALLEST <= image_tokens(FILES[kind][:cut] + noise) <= LARGEST


def parts(data: str) -> list[dict[str, Any]]:
    return [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}", "detail": "high"}},
        {"type": "image_url", "image_url": f"data:image/png;base64,{data}"},
        {"type": "image", "source_type": "base64", "mime_type": "image/png", "data": data},
        {"type": "image", "base64": data, "mime_type": "image/png"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}},
        {"type": "input_image", "image_url": f"data:image/png;base64,{data}"},
    ]


@pytest.mark.parametrize("form", range(6))
def test_an_image_counts_its_pixels_in_every_form(form: int) -> None:
    part = parts(base64.b64encode(png()).decode())[form]
    bound = bound_of(Request(({"role": "user", "content": [{"type": "text", "text": "x"}, part]},)))
    assert W * H / 256 <= bound < W * H / 256 + 300


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_an_image_is_never_billed_more(width: int, height: int) -> None:
    scale = min(1, 1568 / max(width, height))
    anthropic = min(4784, width * scale * height * scale / 750)
    openai = min(1536, -(-width // 32) * -(-height // 32)) * 2.46
    bound = image_tokens(png(width, height))
    assert bound >= anthropic
    assert bound >= openai
    assert bound <= LARGEST


@given(st.text(max_size=300))
def test_text_counts_its_bytes(text: str) -> None:
    least = len(text.encode("utf-8", "replace"))
    assert bound_of(Request(({"role": "user", "content": text},))) >= least


@pytest.mark.parametrize(
    ("data", "model", "tokens"),
    [
        (png(1, 1), "", 2_880),
        (png(1024, 768), "gpt-5", 64 * 49),
        (png(1025, 769), "gpt-5", 65 * 50),  # squares that are only begun count
        (png(4096, 4096), "", 16_384),
        (b"", "", 16_384),
        (png(1, 1), "gpt-4o-mini-2024-07-18", 2_833 + 8 * 5_667),
        (b"", "openai/gpt-4o-mini", 2_833 + 8 * 5_667),
    ],
)
def test_the_figures_of_an_image(data: bytes, model: str, tokens: int) -> None:
    assert image_tokens(data, model) == tokens


def sized(content: Any, **more: Any) -> int:
    return bound_of(Request(({"role": "user", "content": content},), **more))


@pytest.mark.parametrize("kind", ["audio", "input_audio"])
def test_a_sound_counts_its_seconds_and_its_bytes_do_not(kind: str) -> None:
    empty = sized([])
    for seconds in (1, 60):
        data = base64.b64encode(b"\1" * 750 * seconds).decode()
        assert sized([{"type": kind, kind: {"data": data, "format": "mp3"}}]) == empty + 50 * (seconds + 1)
    unread = {"type": kind, kind: {"url": "https://example.org/a.mp3"}}
    assert sized([unread]) > empty + len(str(unread)) - 10


def test_all_that_is_sent_counts() -> None:
    plain = sized("word")
    assert sized("word" * 2) == plain + 4
    assert sized("wörd") == plain + 1
    assert sized("word", schema={"a": "bcd"}) == plain + len('{"a": "bcd"}') - len("null")
    two = bound_of(Request(({"role": "user", "content": "word"},) * 2))
    assert two == plain + len('{"role": "user", "content": "word"}, ') + 16
    address = {"type": "image_url", "image_url": {"url": "https://example.org/" + "a" * 99}}
    assert sized([address]) == sized([]) + 16_384
