"""A preparation that is under way: its dataset, its rules, its key."""

from __future__ import annotations

from dataclasses import dataclass

from ganlib.data.decoder import Decoder
from ganlib.data.layout import RawDataset, raw_prefix
from ganlib.data.pixel_files import PixelFiles
from ganlib.data.preparation import Preparation
from ganlib.ports import ObjectStore
from ganlib.records import DatasetVersion, Shard, digest_of

DECODER = 2
"""Counted up when the same raw objects would give other pixels, so that old versions are not reused."""


@dataclass(frozen=True)
class PreparationWork:
    """The dataset to prepare, how, and the key under which the result is found again."""

    store: ObjectStore
    name: str
    raw: RawDataset
    preparation: Preparation
    shape: tuple[int, int, int]
    """Channels, height, width."""
    key: str
    """Digest of the raw objects and the preparation."""

    @property
    def way(self) -> str:
        """Digest of the preparation alone: the pixels of another one with the same can be reused."""
        return digest_of(
            {"decoder": DECODER, "shape": self.shape, "preparation": self.preparation.model_dump()}
        )

    def decoder(self, files: PixelFiles, threads: int, processors: int) -> Decoder:
        """A decoder that puts the pixels into these files."""
        return Decoder(files, raw_prefix(self.name), self.preparation, threads, processors, self.key)

    def version(self, classes: tuple[str, ...], shards: tuple[Shard, ...]) -> DatasetVersion:
        """The version that has these shards."""
        return DatasetVersion(
            name=self.name,
            digest=DatasetVersion.digest_for(self.shape, classes, shards),
            image_shape=self.shape,
            classes=classes,
            shards=shards,
            source=", ".join(self.raw.sources),
        )
