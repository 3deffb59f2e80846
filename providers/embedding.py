"""Static word embeddings that ship inside a package: no model server, no download."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ..state.errors import SettingsError

DIMENSIONS = 256
INSTALL_HELP = 'Install it with: pip install "stepgraph[local]" (in a clone: ".[local]")'


@cache
def _load() -> Any:
    spec = importlib.util.find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        raise SettingsError(f"The embedding classifier needs wordllama. {INSTALL_HELP}")
    folder = Path(next(iter(spec.submodule_search_locations)))
    # Importing wordllama configures the root logger of the whole process; undo that.
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    from wordllama import WordLlama

    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("wordllama").setLevel(logging.WARNING)
    return WordLlama.load(dim=DIMENSIONS, cache_dir=folder, disable_download=True)


def embed(texts: Sequence[str]) -> list[list[float]]:
    """Return one unit vector of 256 numbers per text; equal directions mean similar words.

    Raises SettingsError if wordllama is not installed.
    """
    return [row.tolist() for row in _load().embed(list(texts), norm=True)]
