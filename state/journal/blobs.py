"""The table of blobs: each is written with the first row that refers to it, and read back by its hash."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable

from ..blobs import Blob
from ..errors import StoreError

CACHED_BYTES = 32_000_000
_INSERT = "INSERT OR IGNORE INTO blobs (sha256, media_type, size, data) VALUES (?, ?, ?, ?)"


class BlobReader:
    """Reads blobs by their hash; what was read last stays in memory."""

    def __init__(self, connection: Callable[[], sqlite3.Connection]) -> None:
        self._connection = connection
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def __call__(self, sha256: str) -> bytes:
        """Return the bytes. Raises StoreError if the file does not hold them."""
        data = self._kept.pop(sha256, None)
        if data is None:
            sql = "SELECT data FROM blobs WHERE sha256 = ?"
            row = self._connection().execute(sql, (sha256,)).fetchone()
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


def write_blobs(connection: sqlite3.Connection, blobs: Iterable[Blob]) -> None:
    """Keep the blobs that the file does not hold yet, in the open transaction."""
    for blob in blobs:
        connection.execute(_INSERT, (blob.sha256, blob.media_type, blob.size, blob.data))
