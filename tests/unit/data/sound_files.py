"""Sound files of every kind that is read, for the readers to be tested with damaged copies of them."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ganlib.data.layout import RawDataset
from ganlib.records import DatasetVersion, Shard

PICTURES = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF")
CONTAINERS = ("zip", "tar", "idx", "npy", "npz", "parquet")
KINDS = (*PICTURES, *CONTAINERS, "manifest")


def _as_it_is(data: bytes) -> bytes:
    return data


class Sound(NamedTuple):
    """A file, or what it is made of when it is packed or has checksums."""

    content: bytes
    pack: Callable[[bytes], bytes] = _as_it_is
    """Makes the file of its content. Damage to the content gets further than damage to a packed file."""

    @property
    def data(self) -> bytes:
        """The file."""
        return self.pack(self.content)


def sound_files(kind: str) -> list[Sound]:
    """Sound files of one of :data:`KINDS`, in its variants."""
    if kind == "PNG":
        return [Sound(data, _with_checksums) for data in pictures(kind)]
    if kind in PICTURES:
        return [Sound(data) for data in pictures(kind)]
    made = {
        "zip": _zips,
        "tar": _tars,
        "idx": _idx,
        "npy": _npy,
        "npz": _npz,
        "parquet": _parquet,
        "manifest": _manifests,
    }
    return made[kind]()


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


def _with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the right checksums again, so that damage gets further than these."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + length]
        out += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(out) + data[at:]


def _files() -> dict[str, bytes]:
    return {f"c{n % 2}/ü{n}.jpg": _saved(_image("RGB", n), "JPEG") for n in range(6)}


def _zipped(files: dict[str, bytes], method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def _zips() -> list[Sound]:
    return [Sound(_zipped(_files(), method)) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def _zstd(data: bytes) -> bytes:
    packed: bytes = pa.compress(data, "zstd", asbytes=True)
    return packed


def _tars() -> list[Sound]:
    made = []
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=format) as archive:
            for name, data in _files().items():
                info = tarfile.TarInfo(name if name[-5] != "3" else "long/" * 30 + name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        made.append(out.getvalue())
    return [*map(Sound, made), Sound(made[0], _gzip), Sound(made[0], _zstd)]


GREY = np.random.default_rng(0).integers(0, 256, (12, 9, 7), dtype=np.uint8)
_LABELS = np.arange(12, dtype=np.uint8) % 5


def idx(values: Any) -> bytes:
    """An IDX file of bytes, as MNIST's are."""
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + bytes(values.tobytes())


def _idx() -> list[Sound]:
    return [Sound(idx(GREY)), Sound(idx(_LABELS)), Sound(idx(GREY), _gzip), Sound(idx(_LABELS), _gzip)]


def _array(values: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def _npy() -> list[Sound]:
    colour = np.random.default_rng(1).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
    return [Sound(_array(values)) for values in (GREY, colour, GREY / np.float32(255), GREY / 255)]


def _npz() -> list[Sound]:
    x, y = _array(GREY), _array(_LABELS)
    words = _array(np.array(["cat", "Wölfe"] * 6))

    def with_pictures(content: bytes) -> bytes:
        return _zipped({"x.npy": content, "y.npy": y}, zipfile.ZIP_STORED)

    def with_labels(content: bytes) -> bytes:
        return _zipped({"x.npy": x, "y.npy": content}, zipfile.ZIP_DEFLATED)

    whole = Sound(_zipped({"x_train.npy": x, "y_train.npy": words}, zipfile.ZIP_DEFLATED))
    return [whole, Sound(x, with_pictures), Sound(y, with_labels), Sound(words, with_labels)]


def _parquet() -> list[Sound]:
    rows = [{"bytes": data, "path": name} for name, data in _files().items()] * 3
    image = pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": ["cat", "dog ", "Wölfe"]},
    }
    table = pa.table({"image": image, "label": pa.array([n % 3 for n in range(len(rows))])})
    described = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    made = []
    for how in (
        {"row_group_size": 5},
        {"compression": "none", "use_dictionary": False},
        {"compression": "zstd", "data_page_size": 2000},
        {"compression": "gzip", "data_page_version": "2.0"},
    ):
        out = io.BytesIO()
        pq.write_table(described, out, **how)
        made.append(Sound(out.getvalue()))
    return made


def _manifests() -> list[Sound]:
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
    raw = RawDataset(format="pictures", sources=("here",), classes=("a", "b"))
    return [Sound(version.to_json().encode()), Sound(raw.to_json().encode())]
