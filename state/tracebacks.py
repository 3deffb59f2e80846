"""Where an error was raised, in words for a message."""

from __future__ import annotations

import os
import traceback

from .keys_in_use import without_keys


def place_of(error: BaseException) -> str:
    """Return the file and the line that raised an error."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{os.path.basename(frame.filename)}, line {frame.lineno}"  # noqa: PTH119


def told_of(error: BaseException) -> str:
    """Return an error's class, place and words, without the keys in use: code that fails may quote them."""
    return without_keys(f"{type(error).__name__} ({place_of(error)}): {error}")
