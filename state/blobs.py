"""Images, sounds and documents in texts: each is kept once, and a reference stands in its place.

A reference says what it stands for: `blob:image/png;size=300012;sha256=…`. It takes the place of base64, and
gives back exactly that. What a text said before that looks like one gets a second colon, and loses it again.
Base64 of another form than one run says so, and gives that back too: `blob:image/png;form=76n;size=…`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from .base64_forms import FORM, encoded, long_runs, may_hold, read_form

MIN_RUN: Final = 1024  # characters of base64 that stand alone; what is called base64 may be shorter
MIN_CALLED: Final = 64
MIN_BYTES: Final = 1024
UNKNOWN_TYPE: Final = "application/octet-stream"

_TYPE = r"[\w.+-]{1,60}/[\w.+-]{1,60}"
_BEGIN = rf"blob(:+)({_TYPE})(?:;form=({FORM}))?;size=(\d+);sha256="
_HASH = "[0-9a-f]{64}"
_LIKE_ONE = re.compile(_BEGIN)
_REFERENCE = re.compile(rf"{_BEGIN}({_HASH})")
_KEPT = re.compile(rf"{_BEGIN}({_HASH})?")
_SHORTEST = len("blob:a/b;size=1;sha256=")
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_RUN = re.compile("[A-Za-z0-9+/]*={0,2}")
_CALLS = (";base64,", '"data":"', '"data": "', '"base64":"', '"base64": "')
_JOINTS = ("-", "_", ".", "~")
_CALLED = re.compile(rf"data:({_TYPE})(?:;[^;,\"\s]{{1,100}})*;base64,$")
# Each run of MIN_RUN covers a window that begins at a multiple of _STRIDE: so a long text is looked at in few
# places only.
_STRIDE, _WINDOW = MIN_RUN // 2, re.compile("[A-Za-z0-9+/]{64}")
_WINDOW_IN_BYTES = re.compile(_WINDOW.pattern.encode())
# How msgpack begins bytes of more than a few, with their length; anything else may look so.
_BYTES_BEGIN = re.compile(rb"(?s)\xc5(?=..)..|\xc6(?=....)....")

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
)


@dataclass(frozen=True, slots=True)
class Blob:
    """The bytes of one image, sound or document, or of another long value."""

    sha256: str
    media_type: str
    size: int
    data: bytes
    form: str = ""

    @classmethod
    def of(cls, data: bytes, called: str = "", form: str = "") -> Blob:
        """Return the blob of some bytes; its type is what they are, else what they are `called`."""
        kind = sniffed(data) or called or UNKNOWN_TYPE
        return cls(hashlib.sha256(data).hexdigest(), kind, len(data), data, form)

    @property
    def reference(self) -> str:
        form = f";form={self.form}" if self.form else ""
        return f"blob:{self.media_type}{form};size={self.size};sha256={self.sha256}"


@dataclass(frozen=True, slots=True)
class Reference:
    """What a reference says of its blob."""

    sha256: str
    media_type: str
    size: int

    def __str__(self) -> str:
        return f"{self.media_type}, {sized(self.size)}, sha256 {self.sha256[:12]}…"


class Referring(str):
    """Text with references, and the blobs that they stand for: whoever keeps it, keeps them."""

    blobs: tuple[Blob, ...]

    @classmethod
    def of(cls, text: str, blobs: Iterable[Blob]) -> Referring:
        """Return the text with those of the blobs that it still refers to."""
        self = cls(text)
        self.blobs = tuple(blob for blob in blobs if blob.sha256 in text)
        return self


class ReferringBytes(bytes):
    """Like `Referring`, for bytes."""

    blobs: tuple[Blob, ...]

    @classmethod
    def of(cls, data: bytes, blobs: Iterable[Blob]) -> ReferringBytes:
        self = cls(data)
        self.blobs = tuple(blobs)
        return self


CARRIERS: Final = frozenset({Referring, ReferringBytes})

ReadBlob = Callable[[str], bytes]
"""Returns the bytes of a hash. Raises StoreError if there are none."""


def address_of(data: bytes, media_type: str = "") -> str:
    """Return bytes as a data address."""
    kind = media_type or sniffed(data) or UNKNOWN_TYPE
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def sniffed(data: bytes) -> str:
    """Return the media type that the first bytes tell, nothing if they tell none."""
    return next((kind for at, magic, kind in _MAGIC if data[at : at + len(magic)] == magic), "")


def blobs_of(value: object) -> tuple[Blob, ...]:
    """Return the blobs that come with a text or bytes."""
    return value.blobs if isinstance(value, (Referring, ReferringBytes)) else ()


def carried(old: str, new: str) -> str:
    """Return what a text with references became, with the blobs that it still refers to."""
    return Referring.of(new, old.blobs) if isinstance(old, Referring) and new is not old else new


def named(text: str) -> str:
    """Return the text with references in the place of base64; those that it has stay as they are."""
    if len(text) < MIN_CALLED or (len(text) < MIN_RUN and not _is_called(text)):
        return text
    blobs: dict[str, Blob] = {}
    parts, done = [], 0
    for start, end in sorted({*_called_runs(text), *_long_runs(text), *long_runs(text)}):
        blob_and_end = _blob_at(text, start, end) if start >= done else None
        if blob_and_end is not None:
            blob, end = blob_and_end
            blobs[blob.sha256] = blob
            parts += [text[done:start], blob.reference]
            done = end
    return Referring.of("".join([*parts, text[done:]]), blobs.values()) if blobs else text


def referring(text: str) -> str:
    """Return the text as it is kept: `whole` gives back exactly what it was."""
    if len(text) < _SHORTEST or isinstance(text, Referring):
        return text
    if ";sha256=" in text:
        text = _LIKE_ONE.sub(lambda match: match[0].replace("blob", "blob:", 1), text)
    return named(text)


def whole(text: str, read: ReadBlob) -> str:
    """Return the text without references, as it was before it was kept."""
    if ";sha256=" not in text:
        return text
    mine = {blob.sha256: blob.data for blob in blobs_of(text)}

    def given_back(match: re.Match[str]) -> str:
        if len(match[1]) > 1:
            return match[0].replace("blob:", "blob", 1)
        if match[5] is None:
            return match[0]
        data = mine[match[5]] if match[5] in mine else read(match[5])
        return encoded(data, match[3] or "")

    return _KEPT.sub(given_back, str(text))


def references_in(text: str) -> list[Reference]:
    """Return what a text refers to, in order."""
    if ";sha256=" not in text:
        return []
    matches = (match for match in _REFERENCE.finditer(text) if len(match[1]) == 1)
    return [Reference(match[5], match[2], int(match[4])) for match in matches]


def described(text: str) -> str:
    """Return a text for a reader: it says what images and documents there are in their places."""
    text = named(text)
    if ";sha256=" not in text:
        return text
    text = re.sub(rf"data:[^,\"\s]{{0,200}};base64,(?={_REFERENCE.pattern})", "", text)
    return _REFERENCE.sub(
        lambda match: f"[{Reference(match[5], match[2], int(match[4]))}]" if len(match[1]) == 1 else match[0],
        text,
    )


def sized(size: int) -> str:
    """Return a size for a reader."""
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1000:.0f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


def _blob_at(text: str, start: int, end: int) -> tuple[Blob, int] | None:
    """Return the blob that begins at a place, and where its base64 ends."""
    other = read_form(text, start)
    if other is not None and (_called(text, start) or sniffed(other.data)):
        return Blob.of(other.data, _called(text, start), other.form), other.end
    blob = _blob_in(text, start, end)
    return (blob, end) if blob is not None else None


def _is_called(text: str) -> bool:
    return "base64" in text or '"data"' in text


def _called_runs(text: str) -> Iterator[tuple[int, int]]:
    """Yield where base64 stands that is called so."""
    if not _is_called(text):
        return
    for call in _CALLS:
        at = text.find(call)
        while at >= 0:
            start = at + len(call)
            end = _end_of_run(text, start)
            if end - start >= MIN_CALLED:
                yield start, end
            at = text.find(call, end)


def _long_runs(text: str) -> Iterator[tuple[int, int]]:
    """Yield where long base64 stands, and other words as long as that."""
    at = 0
    while at <= len(text) - 64:
        if _WINDOW.match(text, at):
            start, end = at, _end_of_run(text, at)
            while start and text[start - 1] in _LETTERS:
                start -= 1
            if end - start >= MIN_RUN:
                yield start, end
            at = end - end % _STRIDE
        at += _STRIDE


def _end_of_run(text: str, start: int) -> int:
    match = _RUN.match(text, start)
    return match.end() if match else start


def may_hold_blobs(packed: bytes) -> bool:
    """Tell whether msgpack may hold something that is kept by itself: long base64, or many bytes."""
    if len(packed) < MIN_BYTES:
        return False
    for match in _BYTES_BEGIN.finditer(packed):
        start = match.end()
        size = int.from_bytes(packed[match.start() + 1 : start])
        if MIN_BYTES <= size <= len(packed) - start:
            return True
    windows = range(0, len(packed) - 63, _STRIDE)
    return any(_WINDOW_IN_BYTES.match(packed, at) for at in windows) or may_hold(packed)


def _blob_in(text: str, start: int, end: int) -> Blob | None:
    """Return what a run of base64 holds, None for a word that only looks like it."""
    run = text[start:end]
    try:
        data = base64.b64decode(run)
    except (binascii.Error, ValueError):
        return None
    called = _called(text, start)
    is_known = bool(called or sniffed(data))
    if not is_known and (len(run) < MIN_RUN or not _is_mixed(run) or _may_be_key(text, start, end)):
        return None
    if base64.b64encode(data) != run.encode():
        return None
    return Blob.of(data, called)


def _called(text: str, start: int) -> str:
    """Return the media type that a data address gives to what begins at a place, "" for none."""
    match = _CALLED.search(text, max(0, start - 300), start)
    return match[1] if match else ""


def _may_be_key(text: str, start: int, end: int) -> bool:
    """Tell whether a run is a part of what masking knows as a key, and so must stay for it to see."""
    before = text[max(0, start - 1) : start]
    return (
        before in _JOINTS or text[end : end + 1] in _JOINTS or text.startswith("Bearer ", max(0, start - 7))
    )


def _is_mixed(text: str) -> bool:
    return text != text.lower() and text != text.upper() and any(c.isdigit() for c in text)
