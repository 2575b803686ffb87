"""Datasets that are larger than a node's cache: trained on window by window, the rest in parts.

::

    CACHE/datasets/SHA256/…     the held-out shards of a version, a sample of its training shards, or the
                                windows of a run; laid out as a whole version, and leaving as one
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ganlib.data.cache import LocalDataset, pull, pull_part
from ganlib.data.windows import sample_of, shards_of, size_of, windows_bytes
from ganlib.errors import DataError
from ganlib.ports import ObjectStore
from ganlib.records import DatasetVersion, Shard, Split, digest_of

if TYPE_CHECKING:
    from ganlib.data.pictures import Pictures
    from ganlib.data.windowed_pictures import WindowedPictures


@dataclass(frozen=True)
class StreamedDataset(LocalDataset):
    """A version whose held-out shards are on this machine; its training shards come as they are needed."""

    store: ObjectStore = field(kw_only=True, compare=False, repr=False)
    cache: Path = field(kw_only=True)
    limit: int = field(kw_only=True)
    """Most bytes in the cache."""
    shards_at_a_time: int = field(kw_only=True)
    """Training shards in a window."""

    def load(self, split: Split) -> Pictures:
        """The held-out pictures.

        Raises:
            DataError: The training pictures were asked for, or a shard is gone or is not what it should be.
        """
        if split == "train":
            raise DataError(
                f"the training pictures of {self.version.name} do not all fit the cache; raise "
                f"GANLIB_CACHE_BYTES, which is {self.limit:,}"
            )
        return super().load(split)

    def sample(self) -> Pictures:
        """Some training pictures, the same ones each time: of as many shards as two windows have.

        There is room for them while the run does not train. Raises as :func:`~ganlib.data.cache.pull`.
        """
        from ganlib.data.pictures import open_pictures

        shards = sample_of(self.version, self.shards_at_a_time)
        folder = _folder_of_part(self.version, shards, self.cache)
        hold = pull_part(self.store, self.version, shards, folder, self.limit)
        classes = len(self.version.classes)
        return open_pictures(folder, shards, self.version.image_shape, classes=classes, keep=hold)

    @contextmanager
    def training(self, run: str, *, seed: int, batch_size: int) -> Iterator[WindowedPictures]:
        """The training pictures by windows, whose files the workers of the run on this machine share.

        Args:
            run: The run's name.
            seed: Seed of the pictures' order.
            batch_size: Pictures in the global batch.

        Raises:
            DataError: The cache cannot be written, or has no room.
        """
        from ganlib.data.order import WindowedOrder
        from ganlib.data.window_files import WindowFiles
        from ganlib.data.windowed_pictures import WindowedPictures

        version, shards = self.version, shards_of(self.version, "train")
        name = digest_of({"windows of": run, "version": version.digest})
        order = WindowedOrder([shard.images for shard in shards], seed, self.shards_at_a_time)
        files = WindowFiles(
            self.store,
            version,
            shards,
            self.cache / "datasets" / name,
            size=windows_bytes(version, self.shards_at_a_time, batch_size),
            limit=self.limit,
        )
        pictures = WindowedPictures(version, shards, order, files)
        try:
            yield pictures
        finally:
            pictures.close()


def bring(
    store: ObjectStore, version: DatasetVersion, cache: Path, *, limit: int | None, window: int | None
) -> LocalDataset:
    """Bring to this machine what a run needs before it begins; see :func:`~ganlib.data.cache.pull`.

    Args:
        store: Holds the version.
        version: The version to bring.
        cache: The machine's cache.
        limit: Most bytes in the cache; ``None``: as many as the disk takes.
        window: Training shards in a window of the run; ``None``: it needs the whole version.

    Returns:
        The whole version where it fits, however the run reads it, and a :class:`StreamedDataset` elsewhere.

    Raises:
        ConfigError, DataError, GanlibError: As of ``pull``.
    """
    if window is None or limit is None or size_of(version.shards) <= limit:
        whole = pull(store, version, cache, limit=limit)
        return LocalDataset(version, whole.folder, whole.hold, window)
    held_out = shards_of(version, "held_out")
    folder = _folder_of_part(version, held_out, cache)
    hold = pull_part(store, version, held_out, folder, limit)
    return StreamedDataset(
        version, folder, hold, window, store=store, cache=cache, limit=limit, shards_at_a_time=window
    )


def _folder_of_part(version: DatasetVersion, shards: Sequence[Shard], cache: Path) -> Path:
    """The folder of some of a version's shards, named by them."""
    part = {"version": version.digest, "shards": [shard.path for shard in shards]}
    return cache / "datasets" / digest_of(part)
