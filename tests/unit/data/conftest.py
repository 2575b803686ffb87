"""Small datasets on disk, and a store to put them in."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from watched_store import WatchedStore

from ganlib.ports import ObjectStore


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


@pytest.fixture
def no_store() -> Callable[[str], ObjectStore]:
    """For adds that must not open any other store."""

    def open_store(uri: str) -> ObjectStore:
        raise AssertionError(f"{uri} was opened")

    return open_store


@pytest.fixture
def make_idx(tmp_path: Path) -> Callable[..., Path]:
    def make(
        train: int = 30,
        held_out: int = 7,
        size: int = 12,
        *,
        packed: bool = True,
        folder: str = "idx",
        seed: int = 0,
    ) -> Path:
        """Four IDX files, written by hand from the format's definition."""
        root = tmp_path / folder
        root.mkdir()
        random = np.random.default_rng(seed)
        for split, count in (("train", train), ("t10k", held_out)):
            images = random.integers(0, 256, (count, size, size), dtype=np.uint8)
            labels = (np.arange(count) % 3).astype(np.uint8)
            for name, header, values in (
                ("images-idx3", struct.pack(">IIII", 0x803, count, size, size), images),
                ("labels-idx1", struct.pack(">II", 0x801, count), labels),
            ):
                data = header + values.tobytes()
                path = root / f"{split}-{name}-ubyte"
                if packed:
                    path.with_name(path.name + ".gz").write_bytes(gzip.compress(data))
                else:
                    path.write_bytes(data)
        return root

    return make


@pytest.fixture
def make_pictures(tmp_path: Path) -> Callable[..., Path]:
    def make(
        names: list[str], folder: str = "pictures", size: tuple[int, int] = (20, 16), seed: int = 0
    ) -> Path:
        """Random RGB pictures under these names; the format follows the suffix."""
        root = tmp_path / folder
        random = np.random.default_rng(seed)
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
        return root

    return make
