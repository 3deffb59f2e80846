"""Texts on a page: cut where they are long, the whole of them one link away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..state.blobs import Reference, described, references_in
from ..tracing.record.attributes import cut_text
from ..tracing.record.text import clean

SHORT = 4000


@dataclass(frozen=True)
class Text:
    """A text under a name that is unique on its page. `shown` is its beginning.

    In the places of images and documents it says what they are; those that the record keeps are its `media`.
    """

    name: str
    whole: str = field(repr=False)
    media: Sequence[Reference] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "media", list(dict.fromkeys(references_in(self.whole))))
        object.__setattr__(self, "whole", described(self.whole))

    @property
    def shown(self) -> str:
        return clean(self.whole[:SHORT])

    @property
    def is_cut(self) -> bool:
        return len(self.whole) > SHORT

    @property
    def length(self) -> int:
        return len(self.whole)


def text_of(name: str, value: Any) -> Text:
    """Return a value as text: as it is, or as indented JSON; of what the record cut, its beginning."""
    if cut := cut_text(value):
        start, length = cut
        return Text(name, f"{start}… (the record keeps the beginning of {length} characters)")
    whole = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    return Text(name, whole)


def read_json(text: str | None) -> Any:
    """Return what a column says; text that is no JSON stands for itself."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text
