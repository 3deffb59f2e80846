"""The table of blobs: each is written with the first row that refers to it, and read back by its hash."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from ..blobs import Blob
from ..errors import StoreError
from .dialect import Row

CACHED_BYTES = 32_000_000
INSERT_BLOB = "INSERT INTO blobs (sha256, media_type, size, data) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"


class BlobReader:
    """Reads blobs by their hash; what was read last stays in memory."""

    def __init__(self, rows: Callable[[str, tuple[str]], list[Row]]) -> None:
        self._rows = rows
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def __call__(self, sha256: str) -> bytes:
        """Return the bytes. Raises StoreError if the file does not hold them."""
        data = self._kept.pop(sha256, None)
        if data is None:
            sql = "SELECT data FROM blobs WHERE sha256 = ?"
            row = next(iter(self._rows(sql, (sha256,))), None)
            if row is None:
                raise StoreError(
                    f"The record refers to a blob with the sha256 {sha256} that it does not hold: somebody "
                    "deleted it from the table blobs. Take it from a copy of the file."
                )
            data = bytes(row[0])
        self._kept[sha256] = data
        while len(self._kept) > 1 and sum(map(len, self._kept.values())) > CACHED_BYTES:
            self._kept.popitem(last=False)
        return data


def write_blobs(execute: Callable[[str, tuple[Any, ...]], object], blobs: Iterable[Blob]) -> None:
    """Keep the blobs that the file does not hold yet, in the open transaction."""
    for blob in blobs:
        execute(INSERT_BLOB, (blob.sha256, blob.media_type, blob.size, blob.data))
