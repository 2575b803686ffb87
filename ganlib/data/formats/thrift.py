"""Reading Thrift's compact encoding, in which a Parquet file describes itself.

pyarrow ends the whole process for some descriptions that contradict themselves, and takes memory as they
announce it, so they are read and checked here before.
"""

from __future__ import annotations

from typing import Any

MAX_VALUES = 500_000
"""Most numbers, texts, lists and structs in one description."""

_MAX_DEPTH = 24
_TRUE, _FALSE, _BYTE, _I16, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = (
    1,
    2,
    3,
    4,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
)


class BadThrift(ValueError):
    """Bytes that are no whole struct."""


class CompactReader:
    """Reads structs as ``{field's number: value}``, with texts as bytes and lists as lists.

    Args:
        data: The bytes.
        most: Most values to read.
    """

    def __init__(self, data: bytes, most: int = MAX_VALUES) -> None:
        self._data, self._left = data, most
        self.at = 0
        """Bytes that have been read."""

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Read a struct.

        Raises:
            BadThrift: It ends early, or has too many values or depths, or a type that does not exist.
        """
        if depth > _MAX_DEPTH:
            raise BadThrift("it is too deep")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = self._value(head & 15, depth, field=True)
        return fields

    def _value(self, kind: int, depth: int, *, field: bool = False) -> Any:
        self._left -= 1
        if self._left < 0:
            raise BadThrift("it has too many values")
        if kind in (_TRUE, _FALSE):
            # A field's type is its value; in a list each takes a byte.
            return (kind if field else self._byte()) == _TRUE
        if kind == _BYTE:
            return self._byte()
        if _I16 <= kind <= _I64:
            return self._signed()
        if kind == _DOUBLE:
            return self._take(8)
        if kind == _BINARY:
            return self._take(self._unsigned())
        if kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._unsigned()
            return [self._value(head & 15, depth + 1) for _ in range(self._counted(count))]
        if kind == _MAP:
            count = self._counted(self._unsigned())
            kinds = self._byte() if count else 0
            return [
                (self._value(kinds >> 4, depth + 1), self._value(kinds & 15, depth + 1)) for _ in range(count)
            ]
        if kind == _STRUCT:
            return self.struct(depth + 1)
        raise BadThrift(f"type {kind} does not exist")

    def _counted(self, count: int) -> int:
        # Each element takes a byte at least.
        if count > len(self._data) - self.at:
            raise BadThrift(f"it announces {count:,} values and ends before")
        return count

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self._data):
            raise BadThrift("it ends early")
        part = self._data[self.at : end]
        self.at = end
        return part

    def _unsigned(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise BadThrift("a number is too long")

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)
