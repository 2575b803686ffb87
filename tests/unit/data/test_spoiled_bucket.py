"""A bucket of which some files are spoiled in every known way: nothing good is lost, nothing bad unnamed."""

from __future__ import annotations

import io
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load
from test_hostile_pictures import BILLION
from test_hostile_pictures import png as png_of_size
from watched_store import WatchedStore

from ganlib.data.preparation import Preparation
from ganlib.data.prepare import begin_work, prepare
from ganlib.data.raw.add import add_dataset
from ganlib.data.versions import find_report
from ganlib.errors import DataError
from ganlib.fakes.stores import MemoryStore

GOOD = 2000
CLASSES = ("cats", "dogs")
FORMATS = {".png": "PNG", ".bmp": "BMP", ".tiff": "TIFF", ".webp": "WEBP", ".jpg": "PNG"}
"""The last one is a PNG by a wrong name: its content decides, and it is good."""

ODD_NAMES = (
    "with space",
    "ümlaut",
    "100%",
    "a+b=c",
    "日本",
    "quote'\"",
    "[x]",
    "semi;colon",
    "dots..in",
    "#1?",
)

Kind = Callable[[int], tuple[str, bytes, str]]
"""Gives the name of a spoiled file, its content, and the reason for which it is refused."""

LOOSE: tuple[Kind, ...] = (
    lambda n: (f"dogs/cut-{n}.png", drawn(90_000 + n)[:60], "truncated"),
    lambda n: (f"cats/empty-{n}.jpg", b"", "empty"),
    lambda n: (f"cats/text-{n}.gif", b"<html>404 not found</html>", "unreadable"),
    lambda n: (f"dogs/bomb-{n}.png", BILLION["PNG"], "bomb"),
    lambda n: (f"dogs/line-{n}.png", png_of_size(100_000, 1, bytes(100_001)), "too large"),
    lambda n: (f"cats/tab\t{n}.png", drawn(91_000 + n), "bad name"),
)
ZIPPED: tuple[Kind, ...] = (
    lambda n: (f"../../escape-{n}.png", drawn(92_000 + n), "bad name"),
    lambda n: (f"dogs/inner-{n}.zip", b"PK\x03\x04", "nested archive"),
    lambda n: (f"dogs/zeros-{n}.png", bytes(300), "unreadable"),
)
DROPPINGS = ("Thumbs.db", "cats/.DS_Store", "cats/._0001.png", "__MACOSX/cats/1.png", "cats/.hidden/1.png")


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def drawn(seed: int, format: str = "PNG") -> bytes:
    out = io.BytesIO()
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    Image.fromarray(pixels(seed)).save(out, format, **options)
    return out.getvalue()


def good_files() -> dict[str, bytes]:
    """Good pictures by name, those with the oddest names among them."""
    made: dict[str, bytes] = {}
    for number in range(GOOD):
        suffix = list(FORMATS)[number % len(FORMATS)]
        stem = ODD_NAMES[number] if number < len(ODD_NAMES) else f"{number:04}"
        made[f"{CLASSES[number % 2]}/{stem}{suffix}"] = drawn(number, FORMATS[suffix])
    return made


class Bucket:
    """Good pictures by themselves, in a zip and in a tar.gz, and spoiled ones beside each."""

    def __init__(self, times: int) -> None:
        self.store, self.spoiled = MemoryStore(), dict[str, str]()
        self.good = good_files()
        names = list(self.good)
        for name in names[:1000]:
            self.store.put(name, self.good[name])
        for name in DROPPINGS:
            self.store.put(name, drawn(95_000))
        for kind in LOOSE:
            for number in range(times):
                name, data, reason = kind(number)
                self.store.put(name, data)
                self.spoiled[name.replace("\t", "\\t")] = reason
        self._put_zip(names[1000:1500], times)
        self._put_tar(names[1500:], times)
        self._put_table(times)

    def _put_zip(self, names: list[str], times: int) -> None:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name in names:
                archive.writestr(name, self.good[name])
            for kind in ZIPPED:
                for number in range(times):
                    name, data, reason = kind(number)
                    archive.writestr(name, data)
                    self.spoiled[f"more.zip/{name}"] = reason
            archive.writestr("__MACOSX/cats/._1.png", b"x")
        self.store.put("more.zip", out.getvalue())

    def _put_tar(self, names: list[str], times: int) -> None:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(self.good[name])
                archive.addfile(info, io.BytesIO(self.good[name]))
            for number in range(times):
                link = tarfile.TarInfo(f"cats/link-{number}.png")
                link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(link)
                self.spoiled[f"last.tar.gz/{link.name}"] = "link"
        self.store.put("last.tar.gz", out.getvalue())

    def _put_table(self, times: int) -> None:
        """A table with a row for each picture; in the rows of some good ones a NUL byte stands."""
        nul = [f"cats/nul-{number}.png" for number in range(times)]
        for number, name in enumerate(nul):
            self.store.put(name, drawn(96_000 + number))
            self.spoiled[name] = "no label"
        rows = [f"{quoted(name)},{name.partition('/')[0]}" for name in self.good]
        rows += [f"{quoted(name)},ca\0ts" for name in nul]
        for container in (*LOOSE, *ZIPPED[2:]):
            rows += [f"{quoted(container(number)[0])},cats" for number in range(times)]
        self.store.put("labels.csv", "\n".join(["file,label", *rows]).encode())


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def test_of_a_bucket_that_is_spoiled_in_places_all_good_pictures_are_kept_and_all_bad_ones_named(
    store: WatchedStore, tmp_path: Path
) -> None:
    bucket = Bucket(times=1)
    assert len(bucket.spoiled) == 11, "half a percent"
    added = add_dataset(
        store, "pets", "s3://b/p", open_store=lambda uri: bucket.store, scratch=tmp_path / "s"
    )
    version = prepare(store, "pets", Preparation(size=8), scratch=tmp_path / "s")
    report = find_report(store, "pets", begin_work(store, "pets", Preparation(size=8))[0].key)
    assert report is not None
    named = {each.name: each.reason for each in (*added.refused, *report.refused)}
    assert named == bucket.spoiled
    assert sum(report.passed_over.values()) == len(DROPPINGS) + 1
    wanted = {pixels(number).transpose(2, 0, 1).tobytes() for number in range(GOOD)}
    shards = [load(store.get(f"{version.prefix}/{shard.path}")) for shard in version.shards]
    assert {picture.tobytes() for shard in shards for picture in shard["images"]} == wanted
    assert sum(len(shard["images"]) for shard in shards) == GOOD
    assert version.classes == CLASSES
    assert all(key.startswith(("raw/pets/", "datasets/pets/")) for key in store.objects)
    assert all(name == unicodedata.normalize("NFC", name) for name in store.objects)


def test_of_a_bucket_that_is_spoiled_in_two_percent_nothing_is_published(
    store: WatchedStore, tmp_path: Path
) -> None:
    bucket = Bucket(times=4)
    assert 0.02 <= len(bucket.spoiled) / GOOD < 0.025
    add_dataset(store, "pets", "s3://b/p", open_store=lambda uri: bucket.store, scratch=tmp_path / "s")
    with pytest.raises(DataError, match=r"cannot be used \(.*at most 1 % may be") as refused:
        prepare(store, "pets", Preparation(size=8), scratch=tmp_path / "s")
    assert "\n" not in str(refused.value)
    assert not [key for key in store.objects if key.startswith("datasets/")]
