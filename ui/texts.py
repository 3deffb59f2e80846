"""Texts on a page: cut where they are long, the whole of them one link away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..state.blobs import Reference, described, references_in
from ..state.masking import Masker
from ..tracing.record.text import clean
from ..tracing.record.values import cut_text
from .trees import Tree, tree_of

SHORT = 4000


@dataclass(frozen=True)
class Text:
    """A text under a name that is unique on its page. `shown` is its beginning.

    In the places of images and documents it says what they are; those that the record keeps are its `media`.
    """

    name: str
    whole: str = field(repr=False)
    tree: Tree | None = field(default=None, repr=False)
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


def text_of(name: str, value: Any, *, whole: bool = False) -> Text:
    """Return a value as text: as it is, or as indented JSON; of what the record cut, its beginning.

    What is no longer than a page shows is a tree beside; with `whole` one of any length.
    """
    if cut := cut_text(value):
        start, length = cut
        return Text(name, f"{start}… (the record keeps the beginning of {length} characters)")
    if isinstance(value, str):
        return Text(name, value)
    text = json.dumps(value, ensure_ascii=False, indent=2)
    has_media = bool(references_in(text))
    is_shown = not has_media and (whole or len(text) <= SHORT)
    return Text(name, text, tree_of(value) if is_shown else None)


def input_shown(data: Any, mask: Masker) -> str:
    """Return an input as a form shows it: as JSON, its keys masked."""
    return json.dumps(mask.value(data), ensure_ascii=False, indent=2)


def as_meant(typed: Any, shown: Any, real: Any) -> Any:
    """Return what was typed; what was left as it was shown, masked or cleaned, is what it stands for."""
    if typed == shown:
        return real
    if isinstance(typed, dict) and isinstance(shown, dict) and isinstance(real, dict):
        both = shown.keys() & real.keys()
        return {n: as_meant(v, shown[n], real[n]) if n in both else v for n, v in typed.items()}
    return typed


def read_json(text: str | None) -> Any:
    """Return what a column says; text that is no JSON stands for itself."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return text
