"""Images, sounds and documents of a record, sent to the browser so that nothing in them can run.

What they are is told by their bytes, not by the record: a page that calls itself an image is only saved.
"""

from __future__ import annotations

from typing import Final

from ..state.blobs import UNKNOWN_TYPE, sniffed

SHOWN: Final = {
    **dict.fromkeys(("image/png", "image/jpeg", "image/gif", "image/webp"), "image"),
    **dict.fromkeys(("audio/wav", "audio/mpeg", "audio/ogg", "audio/flac", "audio/mp4"), "audio"),
    **dict.fromkeys(("video/mp4", "video/webm"), "video"),
}
"""The types that a page shows by itself, and how. SVG is none: it can hold scripts."""

HEADERS: Final = {"content-security-policy": "default-src 'none'; sandbox; frame-ancestors 'none'"}
_ENDINGS: Final = {"application/pdf": ".pdf", "application/zip": ".zip"}


def way_to_show(media_type: str) -> str:
    """Return the element that shows a type, nothing for one that is only saved."""
    return SHOWN.get(media_type, "")


def sent_as(data: bytes) -> tuple[str, str]:
    """Return the type under which bytes are sent, and, of those that are only saved, how their file ends."""
    kind = sniffed(data)
    if kind in SHOWN:
        return kind, ""
    ending = _ENDINGS.get(kind, "")
    return (kind if ending == ".pdf" else UNKNOWN_TYPE), ending or ".bin"
