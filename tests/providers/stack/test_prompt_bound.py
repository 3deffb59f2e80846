"""The bound of a request: text by its bytes, an image by its pixels, whatever form it has."""

from __future__ import annotations

import base64
import io
import json
import random
import struct
import zipfile
import zlib
from typing import Any

import pytest
from hypothesis import given, strategies as st

from stepgraph.providers.backends.langchain import with_schema_in_prompt
from stepgraph.providers.model import Request
from stepgraph.providers.stack.file_tokens import UNKNOWN, document_tokens
from stepgraph.providers.stack.image_tokens import LARGEST, SMALLEST, image_tokens, size_of
from stepgraph.providers.stack.prompt_bound import ORDER_BYTES, bound_of
from stepgraph.providers.stack.tool_emulation import emulated

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


def pdf(pages: int, text: str, *, packed: bool = True) -> bytes:
    """Return a PDF of so many pages, each with a text, and a large picture that no page has."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Count %d >>" % pages]
    for _ in range(pages):
        shown = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode()
        data = zlib.compress(shown) if packed else shown
        head = b"/Filter /FlateDecode " if packed else b""
        objects.append(b"<< /Type /Page /Parent 2 0 R >>")
        objects.append(b"<< %s/Length %d >>\nstream\n%s\nendstream" % (head, len(data), data))
    picture = random.Random(1).randbytes(100_000)
    head = b"<< /Type /XObject /Subtype /Image /Filter /DCTDecode /Length 100000 >>"
    objects.append(head + b"\nstream\n" + picture + b"\nendstream")
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % (n, item) for n, item in enumerate(objects, 1))
    return b"%PDF-1.7\n" + body + b"%%EOF"


def as_parts(data: bytes, mime: str) -> list[dict[str, Any]]:
    text = base64.b64encode(data).decode()
    address = f"data:{mime};base64,{text}"
    return [
        {"type": "file", "file": {"filename": "x", "file_data": address}},
        {"type": "input_file", "filename": "x", "file_data": address},
        {"type": "document", "source": {"type": "base64", "media_type": mime, "data": text}},
        {"type": "file", "source_type": "base64", "mime_type": mime, "data": text},
        {"type": "file", "base64": text, "mime_type": mime},
        {"type": "media", "mime_type": mime, "data": text},
    ]


def bound(part: dict[str, Any], model: str = "") -> int:
    return bound_of(Request(({"role": "user", "content": [part]},)), model)


@pytest.mark.parametrize("form", range(6))
@pytest.mark.parametrize("packed", [True, False])
def test_a_pdf_counts_its_pages_and_its_text_in_every_form(form: int, packed: bool) -> None:
    found = bound(as_parts(pdf(3, "All is well. " * 100, packed=packed), "application/pdf")[form], "claude-x")
    image = image_tokens(png(1_700, 2_200), "claude-x")
    text = 3 * 1_300
    assert 3 * image + text <= found <= 3 * (image + text) + 600


@given(st.integers(1, 8), st.text("ab (]", max_size=60))
def test_a_pdf_is_never_less_than_its_text_and_its_pages(pages: int, text: str) -> None:
    shown = "".join(f"\\{letter}" if letter in "()" else letter for letter in text)
    for model in ("", "gpt-4o", "claude-x", "gemini-3-pro"):
        least = pages * (len(text) + min(image_tokens(png(800, 1_000), model), 1_000))
        assert document_tokens(pdf(pages, shown), model) >= least


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_file", "file_url": "https://example.org/a.pdf"},
        {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}},
        {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}},
        {"type": "video", "url": "https://example.org/a.mp4"},
        *as_parts(b"%PDF-1.7 is all that it says", "application/pdf"),
        *as_parts(pdf(1, "x").replace(b"/Catalog", b"/Encrypt 9 0 R"), "application/pdf"),
        *as_parts(b"\0\0\0\x18ftypmp42 and no header", "video/mp4"),
    ],
)
def test_what_nobody_can_look_into_counts_as_a_whole_context(part: dict[str, Any]) -> None:
    assert UNKNOWN <= bound(part) < UNKNOWN + 1_000


def mp4(seconds: int, *, wide: bool = False) -> bytes:
    times = struct.pack(">IQQIQ", 1 << 24, 0, 0, 1_000, seconds * 1_000) if wide else b""
    times = times or struct.pack(">IIIII", 0, 0, 0, 1_000, seconds * 1_000)
    return b"\0\0\0\x18ftypmp42" + bytes(12) + b"\0\0\0\x6cmvhd" + times + bytes(500_000)


def webm(seconds: int) -> bytes:
    info = b"\x2a\xd7\xb1\x83\x0f\x42\x40\x44\x89\x88" + struct.pack(">d", seconds * 1_000)
    return b"\x1a\x45\xdf\xa3" + bytes(40) + info + bytes(500_000)


@pytest.mark.parametrize("data", [mp4(30), mp4(30, wide=True), webm(30)])
def test_a_video_counts_its_length(data: bytes) -> None:
    address = f"data:video/mp4;base64,{base64.b64encode(data).decode()}"
    for part in (
        {"type": "video_url", "video_url": {"url": address}},
        {"type": "video", "base64": base64.b64encode(data).decode(), "mime_type": "video/mp4"},
        as_parts(data, "video/mp4")[5],
    ):
        assert 30 * 300 <= bound(part, "google/gemini-3-pro") <= 2 * 30 * 300
        assert 30 * 768 <= bound(part) <= 30 * 1_000


def test_a_sound_counts_its_length_where_it_is_told() -> None:
    head = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
    data = base64.b64encode(head + bytes(32_000 * 10)).decode()
    found = bound({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}})
    assert 10 * 32 <= found <= 10 * 50 + 200


def test_an_office_document_counts_its_unpacked_text() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", "<w:t>" + "word " * 10_000 + "</w:t>")
        archive.writestr("word/media/image1.png", random.Random(1).randbytes(90_000))
    assert 50_000 <= document_tokens(packed.getvalue()) <= 51_000


def test_plain_text_in_a_document_counts_its_bytes() -> None:
    part = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "ü" * 500}}
    assert 1_000 <= bound(part) < 1_200


@given(st.integers(1, 12_000), st.integers(1, 12_000))
def test_a_known_models_image_is_billed_by_its_rule(width: int, height: int) -> None:
    shrink = min(1, 2048 / max(width, height))
    shrink = min(shrink, 768 / min(width, height))
    sides = (round(width * shrink), round(height * shrink))
    tiles = -(-max(1, sides[0]) // 512) * -(-max(1, sides[1]) // 512)
    data = png(width, height)
    for model in ("gpt-4o", "openai/gpt-4.1", "gpt-5"):
        assert 85 + 170 * tiles <= image_tokens(data, model) <= 2 * (85 + 170 * tiles)
    assert 2_833 + 5_667 * tiles <= image_tokens(data, "gpt-4o-mini") <= 2 * (2_833 + 5_667 * tiles)
    patches = -(-width // 28) * -(-height // 28)
    assert image_tokens(data, "anthropic/claude-opus-4.7") == min(4_784, patches)
    assert image_tokens(data, "gemini-3-pro-preview") == 2 * 1_120


def test_a_schema_counts_as_it_stands_in_a_prompt() -> None:
    """With escapes for letters beyond ASCII, and the order that goes with it."""
    schema = {"type": "object", "description": "ü" * 100}
    request = Request(({"role": "user", "content": "x"},), schema=schema)
    (message, *_) = with_schema_in_prompt(request.messages, schema)
    assert bound_of(request) >= len(message["content"].encode())


@given(st.text(max_size=40), st.integers(0, 3))
def test_emulated_tools_are_part_of_the_bound(text: str, count: int) -> None:
    tool = {"name": "look", "description": text, "parameters": {"type": "object", "properties": {}}}
    request = emulated(Request(({"role": "user", "content": text},), tools=(tool,) * count))
    sent = sum(len(message["content"].encode("utf-8", "replace")) for message in request.messages)
    assert bound_of(request) >= sent + len(json.dumps(request.schema or ""))


@pytest.mark.parametrize(
    ("data", "model", "tokens"),
    [
        (png(1, 1), "", 2_880),
        (png(1024, 768), "", 64 * 49),
        (png(1025, 769), "", 65 * 50),  # squares that are only begun count
        (png(1024, 768), "gpt-5", 85 + 4 * 170),
        (png(4096, 4096), "", 16_384),
        (b"", "", 16_384),
        (png(1, 1), "gpt-4o-mini-2024-07-18", 2_833 + 5_667),
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
    assert sized("word", schema={"a": "bcd"}) == plain + len('{"a": "bcd"}') + ORDER_BYTES
    two = bound_of(Request(({"role": "user", "content": "word"},) * 2))
    assert two == plain + len('{"role": "user", "content": "word"}, ') + 16
    address = {"type": "image_url", "image_url": {"url": "https://example.org/" + "a" * 99}}
    assert sized([address]) == sized([]) + 16_384
