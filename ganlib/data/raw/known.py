"""The datasets that ganlib knows by name, and where each is looked for.

A known dataset is four IDX files whose unpacked content has known SHA-256 digests; how they are
compressed does not matter (Debian's and the original files differ there).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ganlib.data.formats.idx import GZIP_ERRORS, IDX_NAMES, IdxFile, open_content, write_idx
from ganlib.data.raw import download
from ganlib.errors import DataError, DigestMismatch, SourceUnavailable

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Folder into which Debian's package ``dataset-fashion-mnist`` puts the four files."""

DIGITS_HELD_OUT_EVERY = 3
"""Every third of scikit-learn's digits (3rd, 6th, …) is held out: 599 of 1,797."""


class Content(NamedTuple):
    """Size and digest of a file's unpacked content."""

    bytes: int
    sha256: str


class FoundFiles(NamedTuple):
    """The four IDX files of a dataset, checked."""

    source: str
    """The place where they were found, for people."""
    files: dict[str, IdxFile]
    """By name without ``.gz``."""


@dataclass(frozen=True)
class Places:
    """Places where known datasets are looked for; tests and mirrors need others than the defaults."""

    debian_folder: Path = DEBIAN_FOLDER
    mirrors: tuple[str, ...] | None = None
    """URL prefixes ending in a slash; ``None`` asks torchvision for its own."""
    apt_get: str = "apt-get"
    dpkg: str = "dpkg"
    connect_seconds: float = 5.0
    """A mirror that has not answered after this is given up."""
    download_seconds: float = 300.0
    """Limit for all four files from one mirror, and for each call of ``apt-get``."""


@dataclass(frozen=True)
class KnownDataset:
    """A dataset that can be added by its name alone."""

    name: str
    classes: tuple[str, ...]
    """In the order of the labels."""
    contents: Mapping[str, Content]
    """By IDX file name."""
    places: tuple[Callable[[KnownDataset, Places, Path], FoundFiles], ...] = field(repr=False)
    """Tried in order; each raises :class:`~ganlib.data.raw.download.PlaceError` when it has nothing."""


def find_known(known: KnownDataset, scratch: Path, places: Places | None = None) -> FoundFiles:
    """The files of a known dataset from the first place that has them.

    Args:
        known: Which one.
        scratch: An existing folder for downloads; the result may point into it.
        places: Where to look.

    Raises:
        DigestMismatch: A local copy is truncated or altered.
        SourceUnavailable: It was found nowhere; the message lists every place with its outcome.
    """
    places = places or Places()
    tried: list[str] = []
    for place in known.places:
        try:
            return place(known, places, scratch)
        except download.PlaceError as reason:
            tried.append(str(reason))
    raise SourceUnavailable(known.name, tried)


def idx_files(folder: Path) -> dict[str, IdxFile]:
    """The IDX files that lie in a folder, gzipped or plain, by name without ``.gz``; maybe none."""
    found: dict[str, IdxFile] = {}
    for name in IDX_NAMES:
        for path in (folder / f"{name}.gz", folder / name):
            if path.is_file():
                found[name] = IdxFile(path, str(path))
                break
    return found


def check_contents(known: KnownDataset, found: FoundFiles) -> None:
    """Compare all four files with the digests of a known dataset.

    Raises:
        DataError: A file is missing.
        DigestMismatch: A file is truncated or altered.
    """
    missing = [name for name in IDX_NAMES if name not in found.files]
    if missing:
        raise DataError(
            f"{known.name} is four IDX files, plain or with .gz; {found.source} lacks {', '.join(missing)}. "
            "Leave --from out to have them found"
        )
    for name in IDX_NAMES:
        expected, file = known.contents[name], found.files[name]
        actual = _content_digest(file, expected.bytes)
        if actual != expected.sha256:
            raise DigestMismatch(file.what, expected.sha256, actual)


def _content_digest(file: IdxFile, size: int) -> str:
    """SHA-256 of the unpacked content, or in brackets why there is none; reads little beyond ``size``."""
    digest, seen = hashlib.sha256(), 0
    try:
        with open_content(file.path) as stream:
            while seen <= size and (part := stream.read(1 << 20)):
                digest.update(part)
                seen += len(part)
    except GZIP_ERRORS as error:
        return f"(none: the gzip stream is broken: {error})"
    except OSError as error:
        raise DataError(f"{file.what} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _from_debian(known: KnownDataset, places: Places, scratch: Path) -> FoundFiles:
    files = idx_files(places.debian_folder)
    if len(files) < len(IDX_NAMES):
        what = "is not there" if not places.debian_folder.is_dir() else "does not hold the four files"
        raise download.PlaceError(f"{places.debian_folder}: {what}")
    found = FoundFiles(str(places.debian_folder), files)
    check_contents(known, found)
    return found


def _from_mirrors(known: KnownDataset, places: Places, scratch: Path) -> FoundFiles:
    mirrors = places.mirrors
    if mirrors is None:
        from torchvision.datasets import FashionMNIST

        mirrors = tuple(FashionMNIST.mirrors)
    reasons = []
    for number, mirror in enumerate(mirrors):
        folder = scratch / f"mirror-{number}"
        try:
            download.from_mirror(
                mirror,
                [f"{name}.gz" for name in IDX_NAMES],
                folder,
                connect_seconds=places.connect_seconds,
                download_seconds=places.download_seconds,
            )
            return _checked_download(known, f"torchvision's mirror {mirror}", folder)
        except download.PlaceError as reason:
            reasons.append(str(reason))
    raise download.PlaceError("torchvision's download: " + ("; ".join(reasons) or "it names no mirror"))


def _from_apt(known: KnownDataset, places: Places, scratch: Path) -> FoundFiles:
    package = "dataset-fashion-mnist"
    unpacked = download.from_apt(
        package,
        scratch / "apt",
        apt_get=places.apt_get,
        dpkg=places.dpkg,
        seconds=places.download_seconds,
    )
    folder = unpacked / DEBIAN_FOLDER.relative_to("/")
    return _checked_download(known, f"Debian's package {package}", folder)


def _checked_download(known: KnownDataset, source: str, folder: Path) -> FoundFiles:
    """Downloaded files, checked. Wrong ones count as a place without the files, so the next is tried."""
    found = FoundFiles(source, idx_files(folder))
    try:
        check_contents(known, found)
    except DataError as error:
        raise download.PlaceError(f"{source}: {error}") from error
    return found


def _from_scikit_learn(known: KnownDataset, places: Places, scratch: Path) -> FoundFiles:
    """Write scikit-learn's digits, 8×8 with values 0..16, as IDX files with values 0..255."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.uint8)
    held_out = np.arange(len(labels)) % DIGITS_HELD_OUT_EVERY == DIGITS_HELD_OUT_EVERY - 1
    arrays = (images[~held_out], labels[~held_out], images[held_out], labels[held_out])
    for name, array in zip(IDX_NAMES, arrays, strict=True):
        write_idx(scratch / f"{name}.gz", array)
    found = FoundFiles("the digits that scikit-learn ships", idx_files(scratch))
    check_contents(known, found)
    return found


KNOWN: Mapping[str, KnownDataset] = {
    known.name: known
    for known in (
        KnownDataset(
            name="fashion-mnist",
            classes=(
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
            contents={
                "train-images-idx3-ubyte": Content(
                    47_040_016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
                ),
                "train-labels-idx1-ubyte": Content(
                    60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
                ),
                "t10k-images-idx3-ubyte": Content(
                    7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
                ),
                "t10k-labels-idx1-ubyte": Content(
                    10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
                ),
            },
            places=(_from_debian, _from_mirrors, _from_apt),
        ),
        KnownDataset(
            name="digits",
            classes=tuple("0123456789"),
            contents={
                "train-images-idx3-ubyte": Content(
                    76_688, "2cd3910fa000b4efbb09888b5407844290c117ab9091044d9f804b37a6e32240"
                ),
                "train-labels-idx1-ubyte": Content(
                    1_206, "ecbbf788b9fa23edf07c733b36ea340d8a266716a750bcc5828145272d0dba33"
                ),
                "t10k-images-idx3-ubyte": Content(
                    38_352, "fb761f7741574bbe1538e497d87d21314551acf86d39d53af857b59a2cfe8bfc"
                ),
                "t10k-labels-idx1-ubyte": Content(
                    607, "85bf4329f4bc74e9a3fa02c1e8add5d51d47748de9eed8e61509b30d8412261a"
                ),
            },
            places=(_from_scikit_learn,),
        ),
    )
}
"""Known datasets by name."""
