"""Images, sounds and documents in a prompt: LangChain's standard content blocks, as they go over the wire.

The form is that of OpenAI's chat completions, which compatible endpoints take; LangChain's classes are given
their standard blocks again (providers/backends/standard_blocks.py).
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..state.blobs import UNKNOWN_TYPE, address_of, sniffed
from ..state.errors import InputError
from ..state.plain_files import read_plain

_OURS: Final = {"type", "base64", "data", "url", "file_id", "id", "mime_type", "source_type"}
_OURS_TOO: Final = {"filename", "detail", "extras", "metadata", "index", "annotations", "title", "context"}
_FORMATS: Final = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "x-flac": "flac"}
_PARTS: Final = {"image_url", "input_audio", "video_url", "audio_url", "media"}
_EXAMPLES: Final = {"image": "image/png", "audio": "audio/wav", "video": "video/mp4"}
_KINDS: Final = (*_EXAMPLES, "file")


def attachment(source: str | Path | bytes, *, mime_type: str = "", name: str = "") -> dict[str, Any]:
    """Return a file, its bytes, or what lies behind an http address as a content block for a prompt.

    What it is, an image, a sound, a video or a document, is told by its first bytes or its name; `mime_type`
    says it where neither does. A file is read now: keep what may change in the state.

        Ask(["What does the meter say?", attachment(reading.photo)])
    """
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        kind = mime_type or mimetypes.guess_type(source)[0] or ""
        named = {"filename": name} if name else {}
        return {
            "type": _kind_of(kind or "image/*"),
            "url": source,
            **({"mime_type": kind} if kind else {}),
            **named,
        }
    if isinstance(source, bytes):
        data = source
    else:
        try:
            data = read_plain(Path(source))
        except OSError as error:
            raise InputError(
                f"attachment({str(source)!r}): the file cannot be read: {error.strerror}. Name a file, or "
                "pass bytes."
            ) from None
        name = name or Path(source).name
    media_type = mime_type or sniffed(data) or mimetypes.guess_type(name)[0] or ""
    if not data or not media_type:
        why = "holds nothing" if not data else f"begins with {data[:8]!r}, which tells no type"
        raise InputError(f"attachment: {name or 'the data'} {why}. Pass mime_type=…, such as 'image/png'.")
    kind = _kind_of(media_type)
    block = {"type": kind, "base64": base64.b64encode(data).decode(), "mime_type": media_type}
    return {**block, "filename": name or "document"} if kind == "file" else block


def _kind_of(mime_type: str) -> str:
    kind = mime_type.partition("/")[0]
    return kind if kind in _KINDS else "file"


def is_medium(block: Any) -> bool:
    """Tell whether a part of a message is an image, a sound, a video or a document."""
    return isinstance(block, Mapping) and block.get("type") in {*_KINDS, *_PARTS}


def wire_part(block: Any) -> Any:
    """Return a content block as a part of OpenAI's; what is one already, or is no standard block, as it is.

    Raises InputError for a block that says nothing.
    """
    if not isinstance(block, Mapping):
        return block
    block = _from_others(block)
    kind = block.get("type")
    if kind == "text-plain":
        return {"type": "text", "text": _text_of(block), **_marks(block)}
    if kind not in _KINDS or kind in block or "source" in block:
        return block
    address = _address(block, kind)
    if address is None:
        if file_id := block.get("file_id") or (block.get("source_type") == "id" and block.get("id")):
            return {"type": "file", "file": {"file_id": file_id}, **_marks(block)}
        raise InputError(
            f"A block of type {kind!r} holds its content as `base64` with `mime_type`, or names a `url` or a "
            f"`file_id`; this one has {', '.join(sorted(map(str, block)))}."
        )
    return {**_part(kind, address, block), **_marks(block)}


def _from_others(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a block of Anthropic's or Google's form in the standard one; all others as they are."""
    source, kind = block.get("source"), block.get("type")
    if kind == "image" and isinstance(source, Mapping):
        rest = {name: value for name, value in block.items() if name != "source"}
        if source.get("type") == "base64":
            return {**rest, "base64": source.get("data"), "mime_type": source.get("media_type")}
        return {**rest, **{name: source[name] for name in ("url", "file_id") if name in source}}
    if kind == "media" and isinstance(block.get("mime_type"), str):
        located = {"url": block["file_uri"]} if "file_uri" in block else {"base64": block.get("data")}
        return {**block, "type": _kind_of(block["mime_type"]), **located}
    return block


def _part(kind: str, address: str, block: Mapping[str, Any]) -> dict[str, Any]:
    detail = _extra(block, "detail")
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": address, **({"detail": detail} if detail else {})}}
    if kind == "video":
        return {"type": "video_url", "video_url": {"url": address}}
    if kind == "file":
        name = _extra(block, "filename") or _extra(block, "title") or "document"
        return {"type": "file", "file": {"file_data": address, "filename": name}}
    head, _, data = address.partition(";base64,")
    if not data:
        return {"type": "audio_url", "audio_url": {"url": address}}
    form = head.rpartition("/")[2]
    return {"type": "input_audio", "input_audio": {"data": data, "format": _FORMATS.get(form, form)}}


def _address(block: Mapping[str, Any], kind: str) -> str | None:
    """Return where a block's content is: an address as it is given, or a data address that holds it."""
    data = block.get("base64", block.get("data"))
    if isinstance(data, (bytes, bytearray)):
        return address_of(bytes(data), _type_of(block, kind, bytes(data)))
    if isinstance(data, str) and data:
        try:
            begin = _begin_of(data)
        except (binascii.Error, ValueError):
            raise InputError(
                f"The `base64` of a block of type {kind!r} begins with {data[:20]!r}, which is no base64. "
                "Encode the bytes: base64.b64encode(data).decode()."
            ) from None
        return f"data:{_type_of(block, kind, begin)};base64,{data}"
    url = block.get("url")
    return url if isinstance(url, str) and url else None


def _begin_of(data: str) -> bytes:
    """Return the first bytes of what base64 encodes, in lines or not. Raises ValueError for what is none."""
    text = "".join(data[:80].split()).replace("-", "+").replace("_", "/")
    return base64.b64decode(text if len(data) <= 80 else text[: len(text) // 4 * 4], validate=True)


def _type_of(block: Mapping[str, Any], kind: str, begin: bytes) -> str:
    media_type = block.get("mime_type") or sniffed(begin)
    if media_type:
        return str(media_type)
    if kind == "file":
        return UNKNOWN_TYPE
    raise InputError(
        f"A block of type {kind!r} has no `mime_type`, and its first bytes tell none. Give it, such as "
        f"'mime_type': {_EXAMPLES[kind]!r}."
    )


def _text_of(block: Mapping[str, Any]) -> str:
    text = block.get("text")
    if not isinstance(text, str):
        raise InputError("A block of type 'text-plain' holds its content as `text`.")
    title = block.get("title")
    return f"{title}\n\n{text}" if title else text


def _extra(block: Mapping[str, Any], name: str) -> Any:
    for place in (block, block.get("extras"), block.get("metadata")):
        if isinstance(place, Mapping) and place.get(name):
            return place[name]
    return None


def _marks(block: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a provider wants to know beside the content, such as `cache_control`."""
    own = {name: value for name, value in block.items() if name not in _OURS | _OURS_TOO and name != "text"}
    mark = _extra(block, "cache_control")
    return {**own, "cache_control": mark} if mark else own
