"""Pictures to measure with, made or found once; versions of them through ganlib's own data plane.

::

    CACHE/bench/pictures-COUNT/CLASS/…jpg    made up, as a folder: what the plain side reads
    CACHE/bench/NAME.json                    the version that was made of them, or of Fashion-MNIST
    CACHE/datasets/DIGEST/…                  its shards, as everywhere (:mod:`ganlib.data.cache`)

``python -m ganlib.bench.benchmark_data pictures|fashion-mnist [FOLDER]`` makes one ready.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from ganlib.bench.parts import Measured, answer
from ganlib.config.run import load_config
from ganlib.data.cache import LocalDataset, pull
from ganlib.data.preparation import Preparation
from ganlib.data.prepare import prepare
from ganlib.data.raw.add import add_dataset
from ganlib.data.shards import Block, shard_capacity, write_shards
from ganlib.errors import ConfigError, ObjectMissing, SourceUnavailable
from ganlib.fakes.stores import MemoryStore
from ganlib.ports import ObjectStore
from ganlib.records import DatasetVersion, Shard, Split
from ganlib.settings import Settings, load_settings

COUNT, CLASSES, SIZE = 4096, 8, 64


def folder_of(settings: Settings, count: int = COUNT) -> Path:
    """Where the made-up pictures are."""
    return settings.cache / "bench" / f"pictures-{count}"


def draw(folder: Path, count: int = COUNT) -> None:
    """Make JPEG pictures of 64×64, the same ones anywhere; a folder that is there stays as it is.

    Soft shapes with grain: about as costly to decode as photographs of that size.
    """
    if folder.is_dir():
        return
    beside = folder.with_name(folder.name + ".part")
    random = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        shapes = np.asarray(small.resize((SIZE, SIZE), Image.Resampling.BICUBIC), np.float64)
        picture = np.clip(shapes + random.normal(0, 10, shapes.shape), 0, 255).astype(np.uint8)
        path = beside / f"kind-{number % CLASSES}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, quality=90)
    beside.rename(folder)


def pictures(settings: Settings, count: int = COUNT) -> LocalDataset:
    """The made-up pictures as a version, in this machine's cache."""
    folder = folder_of(settings, count)
    draw(folder, count)
    return _version(settings, "bench-pictures", f"pictures-{count}", folder, Preparation(size=SIZE))


def shapes(settings: Settings, size: int, train: int = 20_000, held_out: int = 5_000) -> LocalDataset:
    """Soft grey shapes as a version, in this machine's cache, for what looks at many small pictures."""
    folder = settings.cache / "bench" / f"shapes-{size}-{train}-{held_out}"
    shape = (1, size, size)
    shards: list[Shard] = []
    splits: tuple[tuple[Split, int], ...] = (("train", train), ("held_out", held_out))
    for seed, (split, count) in enumerate(splits):
        small = torch.rand(count, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
        large = functional.interpolate(small, (size, size), mode="bilinear")
        block = Block((large * 255).to(torch.uint8).numpy(), np.zeros(count, np.int64))
        shards += write_shards(folder, split, [block], shape, shard_capacity(shape))
    digest = DatasetVersion.digest_for(shape, (), tuple(shards))
    version = DatasetVersion(
        name="bench-shapes", digest=digest, image_shape=shape, classes=(), shards=tuple(shards)
    )
    store = MemoryStore()
    for shard in shards:
        store.put(f"{version.prefix}/{shard.path}", folder / shard.path)
    return pull(store, version, settings.cache, limit=settings.cache_bytes)


def fashion_mnist(settings: Settings, source: Path | None = None) -> LocalDataset:
    """Fashion-MNIST as its recipe wants it, in this machine's cache.

    Raises:
        SourceUnavailable: It cannot be had.
    """
    wanted = load_config("fashion-mnist-wgan").dataset
    preparation = Preparation(size=wanted.size, channels=wanted.channels, fit=wanted.fit)
    return _version(settings, wanted.name, wanted.name, source, preparation)


def _version(
    settings: Settings, name: str, record_name: str, source: Path | None, preparation: Preparation
) -> LocalDataset:
    record = settings.cache / "bench" / f"{record_name}.json"
    try:
        known = DatasetVersion.from_json(record.read_text(), source=str(record))
        # From an empty store: what is in the cache, whole, needs none.
        return pull(MemoryStore(), known, settings.cache, limit=settings.cache_bytes)
    except (FileNotFoundError, ObjectMissing):
        store, scratch = MemoryStore(), settings.scratch
        given = None if source is None else str(source)
        add_dataset(store, name, given, open_store=_no_store, scratch=scratch)
        dataset = pull(
            store,
            prepare(store, name, preparation, scratch=scratch),
            settings.cache,
            limit=settings.cache_bytes,
        )
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(dataset.version.to_json())
        return dataset


def _no_store(uri: str) -> ObjectStore:
    raise ConfigError(f"--from {uri} must be a folder of this machine")


def main(name: str, source: Path | None = None) -> Measured:
    """Make a dataset ready; the value is its number of pictures to train on."""
    settings = load_settings()
    try:
        dataset = pictures(settings) if name == "pictures" else fashion_mnist(settings, source)
    except SourceUnavailable as error:
        return Measured(value=math.nan, missing=f"{error.dataset} could not be found: {error.tried[-1]}")
    return Measured(value=dataset.version.count("train"))


if __name__ == "__main__":
    answer(lambda: main(sys.argv[1], *(Path(word) for word in sys.argv[2:])))
