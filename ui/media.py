"""The images, sounds and documents that a run holds: each once, with its name and the step that had it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from ..state.blobs import Reference, references_in, sized
from ..tracing.record.run import Run
from ..tracing.record.spans import Span
from .texts import read_json

MOST = 200
_COLUMNS: Final = ("input", "output", "messages", "answer", "tool_calls", "media", "interrupts", "passages")
_NAMED: Final = ("filename", "file_name", "name", "title")
_DEEP = 3  # a name stands beside the file, or around what holds it
# How a file's name may end when it is saved: nothing that a browser would run from the disk.
_ENDINGS: Final = re.compile(
    r"\.(pdf|zip|docx|xlsx|pptx|odt|ods|csv|tsv|txt|md|json|log|png|jpe?g|gif|webp|wav|mp3|ogg|flac|m4a|mp4|webm)$"
)


@dataclass(frozen=True)
class Media:
    """One image, sound or document: what it is, how it was called, and the first step that had it."""

    reference: Reference
    name: str
    span: Span

    @property
    def size(self) -> str:
        return sized(self.reference.size)


def media_of(run: Run) -> list[Media]:
    """Return what a run holds, in the order in which it appeared, at most MOST."""
    media: dict[str, Media] = {}
    for span in run.spans:
        for column in _COLUMNS:
            text = span.row.get(column)
            if not isinstance(text, str) or ";sha256=" not in text:
                continue
            names: dict[str, str] | None = None
            for reference in references_in(text):
                known = media.get(reference.sha256)
                if known is not None and known.name:
                    continue
                if names is None:
                    names = dict(_names(read_json(text)))
                name = names.get(reference.sha256, "")
                if known is None and len(media) < MOST:
                    media[reference.sha256] = Media(reference, name, span)
                elif known is not None and name:
                    media[reference.sha256] = Media(reference, name, known.span)
    return list(media.values())


def _names(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the hash of each file that has a name, with the name."""
    todo: list[tuple[Any, tuple[str, int]]] = [(value, ("", 0))]
    while todo:
        each, (name, left) = todo.pop()
        if isinstance(each, str) and name:
            yield from ((reference.sha256, name) for reference in references_in(each))
        elif isinstance(each, dict):
            own = next((each[key] for key in _NAMED if isinstance(each.get(key), str) and each[key]), None)
            passed = (own, _DEEP) if own else (name if left else "", max(0, left - 1))
            todo += [(item, passed) for item in each.values()]
        elif isinstance(each, list):
            todo += [(item, (name if left else "", max(0, left - 1))) for item in each]


def file_name(name: str, sha256: str, ending: str) -> str:
    """Return a name under which every system saves a file, and opens it as what its bytes are."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", PurePath(name.replace("\\", "/")).name).strip("-.")[-80:]
    if not stem:
        return f"{sha256[:12]}{ending}"
    return stem if _ENDINGS.search(stem.lower()) else f"{stem}{ending or '.bin'}"
