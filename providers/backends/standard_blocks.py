"""Images, sounds and documents: between OpenAI's parts of a message and LangChain's standard blocks."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from ...state.blobs import sniffed

Block = Mapping[str, Any]
KINDS: Final = frozenset({"image", "audio", "video", "file"})
_ADDRESS = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[^;,]*)*;base64,(.*)", re.DOTALL)
_FORMATS: Final = {"mp3": "audio/mpeg"}
_ADDRESSED: Final = {"image_url": "image", "video_url": "video", "audio_url": "audio"}


def standard_block(part: Any) -> Any:
    """Return a part of OpenAI's with a medium in it as LangChain's block; all else as it is.

    LangChain's own methods do the same for callers of `ainvoke`.
    """
    if not isinstance(part, Mapping):
        return part
    block = _block(part)
    if block is None:
        return part
    rest = {name: value for name, value in part.items() if name not in (part["type"], "type")}
    return {**block, **rest}


def _block(part: Mapping[str, Any]) -> dict[str, Any] | None:
    kind = part.get("type")
    held = part.get(kind) if isinstance(kind, str) else None
    if kind in _ADDRESSED:
        url = held.get("url") if isinstance(held, Mapping) else held
        if not isinstance(url, str):
            return None
        detail = held.get("detail") if isinstance(held, Mapping) else None
        return {
            "type": _ADDRESSED[kind],
            **_located(url),
            **({"extras": {"detail": detail}} if detail else {}),
        }
    if not isinstance(held, Mapping):
        return None
    if kind == "input_audio" and isinstance(held.get("data"), str):
        form = str(held.get("format") or "wav")
        return {"type": "audio", "base64": held["data"], "mime_type": _FORMATS.get(form, f"audio/{form}")}
    if kind == "file":
        if held.get("file_id"):
            return {"type": "file", "file_id": held["file_id"]}
        if isinstance(held.get("file_data"), str):
            named = {"filename": held["filename"]} if held.get("filename") else {}
            return {"type": "file", **_located(held["file_data"]), **named}
    return None


def _located(address: str) -> dict[str, Any]:
    match = _ADDRESS.fullmatch(address)
    return {"base64": match[2], "mime_type": match[1]} if match else {"url": address}


def blocks_in(parts: Any) -> list[Block]:
    """Return the images and files among the parts of an answer, as standard blocks."""
    if not isinstance(parts, list):
        return []
    blocks = map(standard_block, parts)
    return [block for block in blocks if isinstance(block, Mapping) and is_medium(block)]


def is_medium(block: Mapping[str, Any]) -> bool:
    """Tell whether a standard block holds an image, a sound, a video or a file."""
    return block.get("type") in KINDS and any(block.get(name) for name in ("base64", "url", "file_id"))


def kept_blocks(blocks: Iterable[Mapping[str, Any]]) -> tuple[Block, ...]:
    """Return media without what only belongs to the message that they came in."""
    names = ("type", "base64", "url", "file_id", "mime_type", "filename")
    return tuple(
        {name: block[name] for name in names if block.get(name)} for block in blocks if is_medium(block)
    )


class AudioDraft:
    """A spoken answer that is still coming in: base64 in pieces, and what it says as text."""

    def __init__(self) -> None:
        self._data: list[bytes] = []

    def add(self, audio: Any) -> str:
        """Add the `audio` of a message or a delta; return the text that is new."""
        if not isinstance(audio, Mapping):
            return ""
        data = audio.get("data")
        for piece in data if isinstance(data, list) else [data]:
            if isinstance(piece, str):
                with suppress(binascii.Error, ValueError):  # what was said stays
                    self._data.append(base64.b64decode(piece))
        transcript = audio.get("transcript")
        return transcript if isinstance(transcript, str) else ""

    def blocks(self) -> list[Block]:
        data = b"".join(self._data)
        if not data:
            return []
        kind = sniffed(data) or "audio/pcm"  # what a stream of OpenAI's holds
        return [{"type": "audio", "base64": base64.b64encode(data).decode(), "mime_type": kind}]
