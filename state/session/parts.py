"""A checkpoint's values one by one, plain or as their types: one that no longer fits spoils no other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ormsgpack
from langgraph.checkpoint.base import Checkpoint
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ..blobs import ReadBlob
from ..codec.decode import Decoder, Unknown
from ..errors import StoreError
from ..serde import KIND, AllowListSerializer


@dataclass(frozen=True)
class Part:
    """One value of a checkpoint, as it is kept."""

    kind: str
    data: bytes
    read_blob: ReadBlob | None

    def plain(self) -> Any:
        """Return the value, with dictionaries in the place of objects."""
        if self.kind == KIND:
            return Decoder(as_data=True, read_blob=self.read_blob).value(self.data)
        return JsonPlusSerializer(allowed_msgpack_modules=None).loads_typed((self.kind, self.data))

    def typed(self) -> Any:
        """Return the value. Raises ValueError for one that this process cannot make."""
        try:
            if self.kind == KIND:
                return Decoder(read_blob=self.read_blob).value(self.data)
            return AllowListSerializer(read_blob=self.read_blob).loads_typed((self.kind, self.data))
        except Unknown as problem:
            raise ValueError(f"it holds {problem}, which the new version does not know") from None
        except LookupError as problem:
            raise ValueError(f"{problem.args[0]} is not as it was") from None
        except StoreError as problem:
            raise ValueError(str(problem)) from None


class PartsSerializer(SerializerProtocol):
    """Reads checkpoints, and leaves what fields hold as `Part`s."""

    def __init__(self, read_blob: ReadBlob | None = None) -> None:
        self._read_blob = read_blob

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        raise NotImplementedError("parts are only read")

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        kind, content = data
        if kind != KIND:
            return self._older(data)
        parts: Any = ormsgpack.unpackb(content, ext_hook=ormsgpack.Ext)
        if not _is_checkpoint(parts):
            return Part(kind, content, self._read_blob)
        values = parts.pop("channel_values")
        checkpoint = Decoder().value(_packed(parts))
        checkpoint["channel_values"] = {
            name: Part(kind, _packed(value), self._read_blob) for name, value in values.items()
        }
        return checkpoint

    def _older(self, data: tuple[str, bytes]) -> Any:
        """Read what LangGraph's own serializer wrote, whose values cannot be taken one by one."""
        value = AllowListSerializer(read_blob=self._read_blob).loads_typed(data)
        if not _is_checkpoint(value):
            return Part(*data, self._read_blob)
        inner = JsonPlusSerializer()
        parts = {
            name: Part(*inner.dumps_typed(v), self._read_blob) for name, v in value["channel_values"].items()
        }
        return {**value, "channel_values": parts}


def _packed(value: Any) -> bytes:
    return ormsgpack.packb(value)


def _is_checkpoint(value: Any) -> bool:
    return isinstance(value, dict) and Checkpoint.__annotations__.keys() & value.keys() >= {
        "channel_values",
        "channel_versions",
        "versions_seen",
    }
