from __future__ import annotations

import csv
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganlib.errors import ConfigError
from ganlib.generators.files import write_folder, write_gif, write_grid, write_npz, write_ways

Batches = list[torch.Tensor]


def pictures(count: int, channels: int = 1, size: int = 8) -> torch.Tensor:
    random = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=random)


def interrupted(batch: torch.Tensor) -> Iterator[torch.Tensor]:
    yield batch
    raise KeyboardInterrupt


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_holds_every_picture_under_its_number(tmp_path: Path, channels: int) -> None:
    images = pictures(5, channels)
    write_folder(tmp_path / "out", images.split(2))
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"00000{number}.png" for number in range(5)]
    for name, image in zip(names, images.permute(0, 2, 3, 1).numpy(), strict=True):
        with Image.open(tmp_path / "out" / name) as read:
            assert np.array_equal(np.asarray(read).reshape(8, 8, channels), image)


def test_a_folder_of_labelled_pictures_lists_their_classes(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()  # an empty one will do
    write_folder(
        tmp_path / "out", pictures(3).split(2), torch.tensor([1, 0, 1]), ("top", "T-shirt, red/blue")
    )
    with (tmp_path / "out" / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["file", "label", "class"],
        ["000000.png", "1", "T-shirt, red/blue"],
        ["000001.png", "0", "top"],
        ["000002.png", "1", "T-shirt, red/blue"],
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_an_npz_holds_pictures_labels_and_seeds(tmp_path: Path, channels: int) -> None:
    images = pictures(5, channels)
    labels = torch.tensor([0, 1, 0, 1, 0])
    write_npz(tmp_path / "a.npz", images.split(2), 5, (7,), labels, ("boot", "größe"))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["classes", "images", "labels", "seeds"]
        assert arrays["images"].dtype == np.uint8
        assert np.array_equal(arrays["images"], images.permute(0, 2, 3, 1).numpy())
        assert arrays["labels"].dtype == arrays["seeds"].dtype == np.int64
        assert arrays["labels"].tolist() == labels.tolist()
        assert arrays["classes"].tolist() == ["boot", "größe"]
        assert arrays["seeds"].tolist() == [7]
    write_npz(tmp_path / "b.npz", images.split(2), 5, (1, 2))
    with np.load(tmp_path / "b.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["images", "seeds"]


def frames(path: Path) -> tuple[list[np.ndarray], list[int], int]:
    """Pictures uint8 [h, w, 3], milliseconds of each, and how often it plays (0: for ever)."""
    with Image.open(path) as gif:
        read, durations = [], []
        for index in range(getattr(gif, "n_frames", 1)):
            gif.seek(index)
            durations.append(gif.info["duration"])
            read.append(np.asarray(gif.convert("RGB")))
        return read, durations, gif.info["loop"]


def test_a_grey_animation_keeps_every_value_and_loops(tmp_path: Path) -> None:
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    images = torch.cat([ramp, ramp.flip(2), ramp.flip(3), torch.full_like(ramp, 3)])
    write_gif(tmp_path / "a.gif", images.split(3), fps=20)
    read, durations, loop = frames(tmp_path / "a.gif")
    assert np.array_equal(np.stack(read), images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy())
    assert durations == [50] * 4
    assert loop == 0


def test_a_coloured_animation_has_the_colours_of_each_picture(tmp_path: Path) -> None:
    few = pictures(3, channels=3, size=12)  # 144 colours each: all fit
    smooth = torch.stack(torch.meshgrid(*[torch.linspace(0, 255, 32)] * 2, indexing="ij"))
    smooth = torch.cat([smooth, 255 - smooth[:1]]).to(torch.uint8)[None]  # a thousand colours
    for images, most in ((few, 3), (torch.cat([smooth, smooth.flip(2)]), 24)):
        write_gif(tmp_path / "a.gif", [images], fps=10)
        read, durations, _ = frames(tmp_path / "a.gif")
        expected = images.permute(0, 2, 3, 1).numpy().astype(int)
        assert np.abs(np.stack(read) - expected).max() <= most
        assert durations == [100] * len(images)


def test_rows_of_a_strip_begin_and_end_with_seeds(tmp_path: Path) -> None:
    images = pictures(7)  # three seeds, three steps between
    write_ways(tmp_path / "a.png", images.split(4), 3)
    with Image.open(tmp_path / "a.png") as read:
        canvas = np.asarray(read)
    assert canvas.shape == (2 * 10 + 2, 4 * 10 + 2)
    for row, column, index in ((0, 0, 0), (0, 3, 3), (1, 0, 3), (1, 3, 6)):
        cell = canvas[row * 10 + 2 : row * 10 + 10, column * 10 + 2 : column * 10 + 10]
        assert np.array_equal(cell, images[index, 0].numpy())


def test_what_is_interrupted_leaves_nothing_and_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"before")
    for write in (
        lambda batches: write_folder(tmp_path / "out", batches),
        lambda batches: write_npz(tmp_path / "a.npz", batches, 4, (0,)),
        lambda batches: write_gif(tmp_path / "a.gif", batches, 10),
        lambda batches: write_grid(tmp_path / "a.png", batches, 2),
    ):
        with pytest.raises(KeyboardInterrupt):
            write(interrupted(pictures(2)))
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    assert (tmp_path / "a.npz").read_bytes() == b"before"


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.png").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"out cannot be written: Directory not empty"):
        write_folder(tmp_path / "out", [pictures(2)])
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine.png"]


def test_a_place_that_is_gone_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory; name another place"):
        write_grid(tmp_path / "gone" / "a.png", [pictures(2)], 2)


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path, kind: str) -> None:
    count, here = 1_000, 50

    def batches() -> Iterator[torch.Tensor]:
        for _ in range(count // here):  # in numpy's memory, which is counted
            yield torch.from_numpy(np.zeros((here, 1, 64, 64), dtype=np.uint8))

    tracemalloc.start()
    try:
        if kind == "folder":
            write_folder(tmp_path / "out", batches())
        else:
            write_npz(tmp_path / "a.npz", batches(), count, (0,))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert here * 64 * 64 < peak < count * 64 * 64 / 4
