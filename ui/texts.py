"""Texts on a page: cut where they are long, the whole of them one link away."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ..tracing.record.attributes import cut_text
from ..tracing.record.text import clean

SHORT = 4000


@dataclass(frozen=True)
class Text:
    """A text under a name that is unique on its page. `shown` is its beginning."""

    name: str
    whole: str = field(repr=False)

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
