from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganlib.errors import ConfigError, UnknownName
from ganlib.generators.loaded import LoadedGenerator
from ganlib.quality.grids import grid


def test_a_png_is_a_grid_of_the_sample(generator: LoadedGenerator, tmp_path: Path) -> None:
    generator.save(tmp_path / "a.png", 5, seed=3, truncation=1)
    with Image.open(tmp_path / "a.png") as read:
        assert np.array_equal(np.asarray(read), grid(generator.sample(5, 3, truncation=1), 3))


def test_an_npz_holds_the_sample(conditional: LoadedGenerator, tmp_path: Path) -> None:
    count: Any = np.int64(130)  # more than a batch
    conditional.save(str(tmp_path / "a.npz"), count, seed=3)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        expected = conditional.sample(130, 3).permute(0, 2, 3, 1).numpy()
        assert np.array_equal(arrays["images"], expected)
        assert arrays["seeds"].tolist() == [3]
        assert arrays["labels"].tolist()[:4] == [0, 1, 2, 0]
        assert arrays["classes"].tolist() == ["boot", "shirt", "bag"]


def test_a_folder_holds_the_sample(conditional: LoadedGenerator, tmp_path: Path) -> None:
    conditional.save(tmp_path / "out", 2, seed=3, label="bag")
    sample = conditional.sample(2, 3, "bag")
    for number in range(2):
        with Image.open(tmp_path / "out" / f"00000{number}.png") as read:
            assert torch.equal(torch.from_numpy(np.array(read)), sample[number, 0])
    assert (tmp_path / "out" / "labels.csv").read_text().splitlines()[1:] == [
        "000000.png,2,bag",
        "000001.png,2,bag",
    ]


@pytest.mark.parametrize("name", ["a.jpg", "a.gif", "", "."])
def test_other_endings_are_refused(generator: LoadedGenerator, name: str) -> None:
    with pytest.raises(ConfigError, match=r"must end with \.png \(a grid\) or \.npz"):
        generator.save(name)


@pytest.mark.parametrize("path", [None, 5, b"a.png"])
def test_what_is_no_path_is_refused(generator: LoadedGenerator, path: Any) -> None:
    with pytest.raises(ConfigError, match="must end with"):
        generator.save(path)


def test_nothing_is_written_where_it_is_refused(conditional: LoadedGenerator, tmp_path: Path) -> None:
    wrong: Any = "4"
    with pytest.raises(ConfigError, match="10001 pictures do not go into .*a.png: a grid holds 10000"):
        conditional.save(tmp_path / "a.png", 10_001)
    with pytest.raises(ConfigError, match="count '4' is not a whole number"):
        conditional.save(tmp_path / "a.png", wrong)
    with pytest.raises(UnknownName, match="close to it: bag"):
        conditional.save(tmp_path / "a.png", label="bags")
    with pytest.raises(ConfigError, match=f"^{tmp_path}/none/a.png: there is no folder"):
        conditional.save(tmp_path / "none" / "a.png")
    assert not list(tmp_path.iterdir())
