"""Where an error was raised, in words for a message."""

from __future__ import annotations

import os
import traceback


def place_of(error: BaseException) -> str:
    """Return the file and the line that raised an error."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{os.path.basename(frame.filename)}, line {frame.lineno}"  # noqa: PTH119
