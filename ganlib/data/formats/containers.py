"""Files that hold many pictures: which kind one is, and the entries in it."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath

from ganlib.data.formats import npy
from ganlib.data.formats.arrays import npy_entries
from ganlib.data.formats.entries import ByteRange, Entry, Refused, shown_name
from ganlib.data.formats.npz import npz_entries
from ganlib.data.formats.tars import UNPACK_ERRORS, Unpacked, tar_entries
from ganlib.data.formats.zips import first_name, zip_directory, zip_entries
from ganlib.errors import DataError
from ganlib.records import Split

SUFFIXES = (
    *(".zip", ".npz", ".npy", ".parquet"),
    *(".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"),
)
"""Ends of the names of files that must be containers."""

_TARS = SUFFIXES[4:]
_UNSUPPORTED = {
    "bzip2": re.compile(rb"BZh[1-9]1AY&SY"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "7z": re.compile(rb"7z\xbc\xaf\x27\x1c"),
    "RAR": re.compile(rb"Rar!\x1a\x07"),
}
"""Compressions that are not read, and the first bytes by which each is known."""
_UNSUPPORTED_SUFFIXES = (*(".bz2", ".tbz2", ".tbz", ".xz", ".txz", ".7z", ".rar"),)
_BLOCK = 512
_TRAIN = {"train", "training"}
_HELD_OUT = {"test", "testing", "val", "valid", "validation", "dev", "t10k", "heldout", "eval"}


def open_container(name: str, source: ByteRange, largest: int) -> Iterator[Entry | Refused] | None:
    """The pictures in a file, by what its first bytes say it is: zip, tar, npz, npy or Parquet.

    A zip archive is an npz when its name says so, or when all files in it are ``.npy``. A tar may be
    compressed by gzip or Zstandard. The entries of a zip can be read in any order and by several threads at
    once; the others are one stream, and each entry of a tar can be read until the next is asked for.

    Args:
        name: Its path or key.
        source: Its bytes.
        largest: Most bytes of a picture in it.

    Returns:
        The entries, which raise ``DataError`` where the file turns out to be damaged; None when it is no
        container, like a picture, a CSV or an IDX file (see :func:`ganlib.data.formats.idx.idx_entries`).

    Raises:
        DataError: Its name is that of a container (:data:`SUFFIXES`), and its content is none; or it is
            packed by a compression that is not read, like bzip2, xz, 7z and RAR.
    """
    lower = name.lower()
    start = source.read_at(0, min(_BLOCK, source.size))
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        if lower.endswith(".npz") or (_may_be_npz(source) and _all_arrays(source)):
            return npz_entries(source, largest)
        return zip_entries(source, largest)
    if start.startswith(npy.MAGIC):
        return npy_entries(source, largest)
    if start.startswith(b"PAR1"):
        # Imported late: it needs a tenth of a second, and few files are tables.
        from ganlib.data.formats.parquet import parquet_entries

        return parquet_entries(source, largest)
    if _is_tar(source, start):
        return tar_entries(source, largest)
    # After the tars, which begin with the name of a file: whatever bytes that may have.
    _refuse_unsupported(name, start)
    if lower.endswith(_TARS) and start:
        return tar_entries(source, largest)
    if lower.endswith(SUFFIXES):
        raise DataError(
            f"{shown_name(name)} is named {PurePosixPath(lower).suffix}, but begins with "
            f"{start[:8].hex(' ') or 'nothing'}: it is damaged or something else. Repair, rename or remove it"
        )
    return None


def _refuse_unsupported(name: str, start: bytes) -> None:
    """Refuse a file that is packed by a compression that is not read, by its first bytes or its name."""
    known = [kind for kind, beginning in _UNSUPPORTED.items() if beginning.match(start)]
    known += [suffix for suffix in _UNSUPPORTED_SUFFIXES if name.lower().endswith(suffix)]
    if known:
        raise DataError(
            f"{shown_name(name)} cannot be read: {known[0]} is a compression that is not supported. "
            "Unpack it, and pack its files again as .zip, .tar.gz or .tar.zst"
        )


def _may_be_npz(source: ByteRange) -> bool:
    return first_name(source).lower().endswith(".npy")


def _all_arrays(source: ByteRange) -> bool:
    return all(info.filename.lower().endswith(".npy") for info in zip_directory(source))


def _is_tar(source: ByteRange, start: bytes) -> bool:
    if start.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        try:
            start = Unpacked(source).read(_BLOCK)
        except UNPACK_ERRORS:
            return False
    try:
        # Compares the checksum of the header, so that old tars without a magic are known too.
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def split_of(name: str) -> Split | None:
    """The split that a name speaks of, by words of its last part, or else of the folders from the last on.

    ``data/train-00000-of-00002.parquet``, ``x_train-0000012`` and ``train/a.jpg`` are of the training split;
    ``test``, ``val``, ``valid``, ``validation``, ``dev`` and ``eval`` are held out. None where no part speaks
    of one, or the first that does speaks of both.
    """
    for part in reversed(name.lower().split("/")):
        words = set(re.split(r"[^a-z0-9]+", part))
        train, held_out = bool(words & _TRAIN), bool(words & _HELD_OUT)
        if train or held_out:
            return None if train and held_out else "train" if train else "held_out"
    return None
