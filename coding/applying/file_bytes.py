"""Read and write a file so that an edit changes nothing else of it: encoding, mode, and never half of it."""

from __future__ import annotations

import os
import tempfile
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from contextlib import suppress
from pathlib import Path

from ...state.errors import ApplyRefused

WIDE_ENCODINGS = {BOM_UTF16_LE: "utf-16-le", BOM_UTF16_BE: "utf-16-be"}


def read_bytes(file: Path) -> tuple[str, str]:
    """Return a file's text and encoding. Bytes that are no UTF-8 survive until it is written."""
    raw = file.read_bytes()
    encoding = WIDE_ENCODINGS.get(raw[:2], "utf-8")
    if encoding == "utf-8" and b"\0" in raw:
        raise ApplyRefused(f"{file} is no text", hint="give a file with lines")
    return raw.decode(encoding, "surrogateescape" if encoding == "utf-8" else "strict"), encoding


def write_bytes(file: Path, text: str, encoding: str, before: str) -> None:
    """Put a text in a file's place at once: a reader, or a crash, sees the old one or the new one whole."""
    if encoding == "utf-8" and any("\ud800" <= sign <= "\udfff" for sign in before):
        added = set(text) - set(before)
        if any(sign > "\x7f" for sign in added):
            raise ApplyRefused(
                f"{file} is not written in UTF-8, and the snippet has the sign {max(added)!r}",
                hint="write the new lines in ASCII, or convert the file first",
            )
    target = Path(os.path.realpath(file))  # a link stays a link
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(text.encode(encoding, "surrogateescape" if encoding == "utf-8" else "strict"))
            out.flush()
            os.fsync(out.fileno())
        status = target.stat()
        new.chmod(status.st_mode & 0o7777)
        if hasattr(os, "chown"):
            with suppress(OSError):
                os.chown(new, status.st_uid, status.st_gid)
        new.replace(target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
