"""Damages real files by a seed and gives them to the readers; run as a program, under a memory limit.

``python mutated_files.py KIND COUNT SEED`` prints JSON: how often each outcome came, the peak of memory, the
slowest case in processor seconds. Anything but a picture, an entry, a refusal or a ``DataError`` ends it
with a traceback and the case's number.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import resource
import struct
import sys
import tarfile
import time
import traceback
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from PIL import Image

from ganlib.data.formats.decode import Fit, decode_picture
from ganlib.data.formats.entries import Entry, ObjectRange, PictureRefused, Refused
from ganlib.data.formats.tars import tar_entries
from ganlib.data.formats.zips import zip_entries
from ganlib.data.layout import RawDataset
from ganlib.errors import DataError
from ganlib.fakes.stores import MemoryStore
from ganlib.records import DatasetVersion, Shard

MEMORY_BYTES = 1536 * 2**20
"""Address space that reading may take beyond what the imports took."""

LARGEST_ENTRY = 2**20

_NUMBERS = [
    0,
    1,
    2,
    7,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
]


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def _image(mode: str, seed: int = 0, side: int = 48) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 4), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((side, side - 8))
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


def pictures(kind: str) -> list[bytes]:
    """Sound pictures of a format, in its variants."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "camera " * 9
    rgb, more = _image("RGB"), [_image("RGB", seed) for seed in (1, 2)]
    grey16 = Image.fromarray(np.arange(48 * 40, dtype=np.uint16).reshape(40, 48) * 30)
    match kind:
        case "JPEG":
            return [
                _saved(rgb, kind, exif=exif),
                _saved(rgb, kind, progressive=True),
                _saved(_image("L"), kind, restart_marker_blocks=2),
                _saved(_image("CMYK"), kind),
            ]
        case "PNG":
            return [
                _saved(rgb, kind, exif=exif),
                _saved(_image("RGBA"), kind),
                _saved(_image("P"), kind, transparency=3),
                _saved(grey16, kind),
                _saved(rgb, kind, save_all=True, append_images=more),
            ]
        case "WebP":
            return [
                _saved(rgb, kind, exif=exif),
                _saved(_image("RGBA"), kind, lossless=True),
                _saved(rgb, kind, save_all=True, append_images=more),
            ]
        case "GIF":
            return [
                _saved(_image("P"), kind, transparency=2, comment=b"a comment"),
                _saved(rgb, kind, save_all=True, append_images=more, loop=0, disposal=2),
            ]
        case "BMP":
            return [_saved(_image(mode), kind) for mode in ("RGB", "RGBA", "P", "L", "1")]
        case "TIFF":
            packed = [
                _saved(rgb, kind, compression=name)
                for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "zstd")
            ]
            return [
                *packed,
                _saved(rgb, kind, exif=exif),
                _saved(grey16, kind),
                _saved(_image("CMYK"), kind),
                _saved(_image("1"), kind, compression="group4"),
                _saved(rgb, kind, save_all=True, append_images=more),
                _saved(rgb, kind, big_tiff=True),
            ]
    raise ValueError(kind)


def _files() -> dict[str, bytes]:
    return {f"c{n % 2}/ü{n}.jpg": _saved(_image("RGB", n), "JPEG") for n in range(6)}


def _zips() -> list[bytes]:
    made = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            for name, data in _files().items():
                archive.writestr(name, data)
        made.append(out.getvalue())
    return made


def _tars() -> list[bytes]:
    made = []
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=format) as archive:
            for name, data in _files().items():
                info = tarfile.TarInfo(name if name[-5] != "3" else "long/" * 30 + name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        made.append(out.getvalue())
    zstd: bytes = pa.compress(made[0], "zstd", asbytes=True)
    return [*made, gzip.compress(made[0], mtime=0), zstd]


def _manifests() -> list[bytes]:
    shard = Shard(
        path="shards/train-00000.safetensors", split="train", images=30, bytes=99_999, sha256="ab" * 32
    )
    version = DatasetVersion(
        name="mine",
        digest="cd" * 32,
        image_shape=(3, 64, 64),
        classes=("ä", "b"),
        shards=(shard,),
        source="s3://x/y",
    )
    return [
        version.to_json().encode(),
        RawDataset(format="pictures", sources=("here",), classes=("a", "b")).to_json().encode(),
    ]


def mutate(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """A file with one to six damages: bits, numbers, parts lost, doubled, or taken from another file."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        # Headers are where most can go wrong.
        at = (
            rng.randrange(len(damaged) + 1)
            if rng.random() < 0.5
            else rng.randrange(min(len(damaged), 200) + 1)
        )
        length = rng.choice((1, 2, 4, 16, 300))
        match rng.randrange(7):
            case 0 if at < len(damaged):
                damaged[at] ^= 1 << rng.randrange(8)
            case 1:
                number = rng.choice(_NUMBERS).to_bytes(4, rng.choice(("little", "big")))
                width = rng.choice((1, 2, 4))
                damaged[at : at + width] = number[-width:] if rng.random() < 0.5 else number[:width]
            case 2:
                damaged[at : at + length] = rng.randbytes(length)
            case 3:
                del damaged[at : at + length]
            case 4:
                damaged[at:at] = damaged[at : at + length] * rng.choice((1, 1, 2, 100))
            case 5:
                other = rng.choice(others)
                start = rng.randrange(len(other))
                damaged[at : at + length] = other[start : start + length]
            case 6 if rng.random() < 0.3:
                del damaged[at:]
    return bytes(damaged)


def _with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the right checksums again, so that damage gets further than these."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + length]
        out += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(out) + data[at:]


def _decode(data: bytes, rng: random.Random) -> Iterator[str]:
    fit, channels, size = rng.choice(("crop", "stretch", "pad")), rng.choice((1, 3)), rng.choice((8, 64))
    try:
        pixels = decode_picture(data, "damaged", size, cast("Fit", fit), channels)
    except PictureRefused as error:
        yield error.refused("damaged").reason
    else:
        assert (pixels.shape, pixels.dtype) == ((channels, size, size), np.uint8)
        yield "picture"


def _read_archive(read: Callable[..., Iterator[Entry | Refused]], data: bytes) -> Iterator[str]:
    store = MemoryStore()
    store.put("archive", data)
    (info,) = store.list("archive")
    for found in read(ObjectRange(store, info), LARGEST_ENTRY):
        if isinstance(found, Refused):
            yield found.reason
            continue
        try:
            content = found.read()
        except DataError:
            yield "entry cannot be read"
        else:
            assert len(content) <= found.size <= LARGEST_ENTRY
            yield "entry"


def _read_manifest(data: bytes) -> Iterator[str]:
    for record in (DatasetVersion, RawDataset):
        try:
            record.from_json(data, source="manifest")
            yield "record"
        except DataError:
            yield "no record"


PICTURES = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF")
KINDS = (*PICTURES, "zip", "tar", "manifest")


def _corpus(kind: str) -> list[bytes]:
    made = {"zip": _zips, "tar": _tars, "manifest": _manifests}
    return made[kind]() if kind in made else pictures(kind)


def outcomes(kind: str, data: bytes, rng: random.Random) -> Iterator[str]:
    """Names of what came of reading a file."""
    try:
        if kind in PICTURES:
            yield from _decode(data, rng)
        elif kind == "manifest":
            yield from _read_manifest(data)
        else:
            yield from _read_archive(zip_entries if kind == "zip" else tar_entries, data)
    except DataError:
        yield "file cannot be read"


def main(kind: str, count: int, seed: int) -> None:
    """Damage and read so many files."""
    corpus = _corpus(kind)
    everything = [data for each in PICTURES for data in pictures(each)] + corpus
    for data in corpus:
        sound = set(outcomes(kind, data, random.Random(0)))
        assert sound & {"picture", "entry", "record"}, sound
        assert not sound - {"picture", "entry", "record", "no record"}, sound
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_BYTES, taken + MEMORY_BYTES))
    found: Counter[str] = Counter()
    slowest = 0.0
    for number in range(count):
        rng = random.Random(f"{kind} {seed} {number}")
        damaged = mutate(rng.choice(corpus), everything, rng)
        if kind == "PNG" and rng.random() < 0.8:
            damaged = _with_checksums(damaged)
        began = time.process_time()
        try:
            found.update(outcomes(kind, damaged, rng))
        except Exception:
            traceback.print_exc()
            sys.exit(f"{kind}, seed {seed}, case {number}: see above")
        slowest = max(slowest, time.process_time() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"outcomes": found, "files": count, "peak_bytes": peak, "slowest": slowest}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
