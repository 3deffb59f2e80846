"""Read and write a file so that an edit changes nothing else of it: encoding, mode, and never half of it."""

from __future__ import annotations

import os
import tempfile
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from contextlib import suppress
from pathlib import Path

from ...state.errors import ApplyRefused
from ...state.plain_files import check_plain, read_plain

MOST_BYTES = 20_000_000
WIDE_ENCODINGS = {BOM_UTF16_LE: "utf-16-le", BOM_UTF16_BE: "utf-16-be"}


def read_bytes(file: Path) -> tuple[str, str]:
    """Return a file's text and encoding. Bytes that are no UTF-8 survive until it is written."""
    try:
        raw = read_plain(file, MOST_BYTES)
    except OSError as error:
        raise ApplyRefused(f"{file} cannot be read: {error.strerror}", hint="name another file") from None
    encoding = WIDE_ENCODINGS.get(raw[:2], "utf-8")
    if encoding == "utf-8" and b"\0" in raw:
        raise ApplyRefused(f"{file} is no text", hint="give a file with lines")
    try:
        return raw.decode(encoding, _errors(encoding)), encoding
    except UnicodeDecodeError as error:
        raise ApplyRefused(
            f"{file} begins as UTF-16 does, and is none: {error.reason}", hint="give a file with lines"
        ) from None


def write_bytes(file: Path, text: str, encoding: str, before: str) -> None:
    """Put a text in a file's place at once: a reader, or a crash, sees the old one or the new one whole.

    `before` is what was read: a file that has another text by now, or is none any more, is left alone.
    """
    if encoding == "utf-8" and any("\ud800" <= sign <= "\udfff" for sign in before):
        added = set(text) - set(before)
        if any(sign > "\x7f" for sign in added):
            raise ApplyRefused(
                f"{file} is not written in UTF-8, and the snippet has the sign {max(added)!r}",
                hint="write the new lines in ASCII, or convert the file first",
            )
    target = Path(os.path.realpath(file))  # a link stays a link
    try:
        _replace(target, text.encode(encoding, _errors(encoding)), before.encode(encoding, _errors(encoding)))
    except OSError as error:
        raise ApplyRefused(
            f"{file} cannot be written: {error.strerror or error}", hint="nothing was changed"
        ) from None


def _errors(encoding: str) -> str:
    return "surrogateescape" if encoding == "utf-8" else "strict"


def _replace(target: Path, data: bytes, before: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=".stepgraph-", dir=target.parent)
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        status = target.stat(follow_symlinks=False)
        check_plain(status)
        if read_plain(target, MOST_BYTES) != before:
            raise ApplyRefused(f"{target} was changed meanwhile", hint="read the file again")
        new.chmod(status.st_mode & 0o7777)
        if hasattr(os, "chown"):
            with suppress(OSError):
                os.chown(new, status.st_uid, status.st_gid)
        new.replace(target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
