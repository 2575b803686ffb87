"""Archives inside of archives: known by name or by their first bytes, and refused."""

from __future__ import annotations

from ganlib.data.formats.entries import Refused, UnusableContent, shown_name

SUFFIXES = (
    *(".zip", ".npz", ".npy", ".parquet", ".tar", ".gz", ".tgz", ".zst", ".tzst", ".bz2", ".tbz2"),
    *(".xz", ".txz", ".7z", ".rar"),
)
"""Ends of the names of archives, compressed files and tables."""

_BEGINNINGS = (
    *(b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\x00"),
    *(b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x93NUMPY", b"PAR1"),
)
_TAR, _TAR_AT = b"ustar", 257

_REMEDY = "unpack it and add what is in it"


def nested_by_name(name: str) -> Refused | None:
    """Refuse an entry that is an archive by its name; None for others."""
    if not name.lower().endswith(SUFFIXES):
        return None
    return Refused(name=shown_name(name), reason="nested archive", detail=_REMEDY)


def refuse_nested(data: bytes, what: str) -> bytes:
    """The content of an entry, unless it is an archive whatever its name says.

    Raises:
        UnusableContent: It is one.
    """
    if data.startswith(_BEGINNINGS) or data[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR:
        raise UnusableContent(f"{what} is an archive inside of an archive; {_REMEDY}", "nested archive")
    return data
