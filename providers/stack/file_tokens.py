"""The most tokens that a sound, a video or a document can be billed, by its length or its pages.

- Sound: OpenAI bills 10 tokens a second, Gemini 32 (https://ai.google.dev/gemini-api/docs/tokens), Whisper's
  encoders make up to 50. The length is read from a WAV header; else by the most compressed speech, which has
  750 bytes a second.
- Video: Gemini bills 258 to 280 tokens a frame, one frame a second, and 32 for the sound:
  https://ai.google.dev/gemini-api/docs/tokens, https://ai.google.dev/gemini-api/docs/media-resolution.
  Qwen-VL takes two frames a second, which share up to 768 tokens: https://github.com/QwenLM/Qwen2.5-VL.
  The length is read from the headers of MP4, MOV and WebM.
- PDF: its text, and for each page an image: https://platform.claude.com/docs/en/build-with-claude/pdf-support,
  https://developers.openai.com/docs/guides/pdf-files. Pages are counted, and the texts in their
  streams. A byte of these can stand for a glyph, whose character has up to three bytes.
  Claude was measured at 2,100 to 2,500 tokens a page of text, Gemini at 560:
  https://huggingface.co/datasets/JOHNISKING/pdf-token-cost
- Other documents: their text: https://developers.openai.com/api/docs/guides/file-inputs

A file that is behind an address or an id, or that cannot be read, counts as UNKNOWN: no prompt is longer than
the context window of the model.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib

from .image_tokens import image_tokens

UNKNOWN = 1_048_576
BYTES_PER_S = 750
AUDIO_TOKENS_PER_S = 50
VIDEO_TOKENS_PER_S = 800
GEMINI_VIDEO_TOKENS_PER_S = 320
BYTES_A_GLYPH = 3
PAGE_IMAGE = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 1_700, 2_200)  # 200 dots per inch

_STREAM = re.compile(rb"<<((?:(?!endobj).){0,4000}?)>>\s*stream\r?\n", re.DOTALL)
_TEXT = re.compile(
    rb"\((?:[^()\\]|\\.|\((?:[^()\\]|\\.|\((?:[^()\\]|\\.)*\))*\))*\)|<[0-9A-Fa-f\s]*>", re.DOTALL
)
_FILTER = re.compile(rb"/\w+Decode\b|/Crypt\b")
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_NO_TEXT = re.compile(
    rb"/Subtype\s*/(?:Image|Type1C|CIDFontType0C|OpenType|XML)|/Length[123]\b|/Type\s*/(?:XRef|Metadata)"
)


def audio_tokens(data: bytes) -> int:
    """Return the most tokens that a sound can be billed."""
    a_second = BYTES_PER_S
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE" and len(data) > 32:
        a_second = max(BYTES_PER_S, int.from_bytes(data[28:32], "little"))
    return len(data) * AUDIO_TOKENS_PER_S // a_second + AUDIO_TOKENS_PER_S


def video_tokens(data: bytes, model: str = "") -> int:
    """Return the most tokens that a video can be billed."""
    seconds = seconds_of(data)
    if seconds is None:
        return UNKNOWN
    a_second = GEMINI_VIDEO_TOKENS_PER_S if "gemini" in model.lower() else VIDEO_TOKENS_PER_S
    return min(UNKNOWN, int(seconds + 2) * a_second)


def seconds_of(data: bytes) -> float | None:
    """Return how long a video is, as the header of an MP4, MOV or WebM file says."""
    try:
        place = data.find(b"mvhd")
        if place >= 0:
            wide = data[place + 4] == 1
            form, begin = (">IQ", place + 24) if wide else (">II", place + 16)
            scale, length = struct.unpack_from(form, data, begin)
            return length / scale if scale and 0 < length < 2 ** (63 if wide else 32) - 1 else None
        if data[:4] == b"\x1a\x45\xdf\xa3":
            return _webm_seconds(data[: 1 << 16])
    except (struct.error, IndexError):
        pass
    return None


def _webm_seconds(head: bytes) -> float | None:
    """Return the element Duration times the element TimestampScale."""
    duration = head.partition(b"\x44\x89")[2]
    if duration[:1] not in (b"\x84", b"\x88"):
        return None
    (length,) = struct.unpack_from(">f" if duration[0] == 0x84 else ">d", duration, 1)
    scale, nanoseconds = head.find(b"\x2a\xd7\xb1"), 1_000_000
    if scale >= 0:
        size = head[scale + 3] & 0x7F
        nanoseconds = int.from_bytes(head[scale + 4 : scale + 4 + size])
    seconds = float(length) * nanoseconds / 1e9
    return seconds if 0 < seconds < 1e9 else None


def document_tokens(data: bytes, model: str = "") -> int:
    """Return the most tokens that a PDF, an office document or a text file can be billed."""
    if data[:4] == b"PK\x03\x04":
        return _packed_tokens(data)
    if b"%PDF-" not in data[:1024]:
        return len(data) if data else UNKNOWN
    text, pages = _pdf_text(data)
    if not pages or b"/Encrypt" in data:
        return UNKNOWN
    return min(UNKNOWN, text * BYTES_A_GLYPH + pages * (image_tokens(PAGE_IMAGE, model) + 100))


def _packed_tokens(data: bytes) -> int:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [info for info in archive.infolist() if info.filename.endswith((".xml", ".txt", ".html"))]
    except (zipfile.BadZipFile, ValueError, OSError):
        return UNKNOWN
    return min(UNKNOWN, sum(info.file_size for info in names) or UNKNOWN)


def _pdf_text(data: bytes) -> tuple[int, int]:
    """Return the bytes of the texts in the streams, and the number of pages."""
    pages, text, place = len(_PAGE.findall(data)), 0, 0
    while (match := _STREAM.search(data, place)) is not None:
        end = data.find(b"endstream", match.end())
        place = end if end >= 0 else len(data)
        if _NO_TEXT.search(match[1]):
            continue
        content = _unpacked(data[match.end() : place], match[1])
        if content is None:
            return 0, 0
        if b"/ObjStm" in match[1]:
            pages += len(_PAGE.findall(content))
        else:
            text += sum(map(len, _TEXT.findall(content)))
    return text, pages


def _unpacked(stream: bytes, head: bytes) -> bytes | None:
    """Return what a stream holds, None if nobody here can tell."""
    if b"/Filter" not in head:
        return stream
    if b"/FlateDecode" not in head or head.count(b"Decode") > head.count(b"/FlateDecode") + head.count(
        b"/DecodeParms"
    ):
        return None
    unpack = zlib.decompressobj()
    try:
        content = unpack.decompress(stream, UNKNOWN)
    except zlib.error:
        return None
    return None if unpack.unconsumed_tail else content
