"""The outbox: a folder that takes what would leave the house. Nothing is sent anywhere."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

from ....state.errors import InputError
from ....state.private_files import make_folder

VARIABLE = "STEPGRAPH_OUTBOX"


def outbox_folder() -> Path:
    """Return the folder: what STEPGRAPH_OUTBOX says, else `outbox` in the working directory."""
    return Path(os.environ.get(VARIABLE) or "outbox").absolute()


def post(key: str, text: str) -> Path:
    """Put a message into the outbox and return its file. Messages with one key are one: the first stays.

    Readers see a file whole or not at all, also after a crash. Raises InputError if the folder cannot be
    written to.
    """
    name = re.sub(r"[^\w.-]+", "-", key)[:60].strip("-.")
    path = outbox_folder() / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:8]}.txt"
    try:
        make_folder(path.parent)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            with suppress(FileExistsError):  # it is there already, or somebody else was faster
                os.link(file.name, path)
    except OSError as error:
        raise InputError(f"The outbox {path.parent} cannot be written to: {error}. Set {VARIABLE}.") from None
    return path
