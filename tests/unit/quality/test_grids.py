from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganlib.errors import ConfigError, DataError
from ganlib.quality.grids import grid, png, side_by_side, write_png


def test_grey_pictures_stand_in_rows_with_two_pixels_between() -> None:
    images = torch.stack([torch.full((1, 5, 4), value, dtype=torch.uint8) for value in (10, 20, 30, 40, 50)])
    result = grid(images, columns=3)
    assert result.shape == (2 * (5 + 2) + 2, 3 * (4 + 2) + 2)
    assert result.dtype == np.uint8
    assert result[2:7, 2:6].tolist() == [[10] * 4] * 5
    assert (result[2:7, 8:12] == 20).all()
    assert (result[9:14, 2:6] == 40).all()
    assert not result[9:14, 14:18].any()  # the missing sixth
    assert result.astype(int).sum() == 20 * (10 + 20 + 30 + 40 + 50)  # all else is black


def test_colour_pictures_keep_their_channels() -> None:
    images = torch.randint(0, 256, (64, 3, 6, 6), dtype=torch.uint8)
    result = grid(images, columns=8)
    assert result.shape == (66, 66, 3)
    assert np.array_equal(result[10:16, 18:24], images[10].permute(1, 2, 0).numpy())


@pytest.mark.parametrize(
    ("images", "columns"),
    [
        (torch.zeros(0, 1, 2, 2, dtype=torch.uint8), 2),
        (torch.zeros(2, 4, 2, 2, dtype=torch.uint8), 2),
        (torch.zeros(2, 1, 2, 2), 2),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), 0),
    ],
)
def test_what_makes_no_grid_is_refused(images: torch.Tensor, columns: int) -> None:
    with pytest.raises(ValueError, match=r"expected|at least 1"):
        grid(images, columns)


def test_what_is_no_picture_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="float64"):
        write_png(tmp_path / "grid.png", np.zeros((4, 4)))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)])
def test_a_png_holds_the_picture(tmp_path: Path, shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "new" / "grid.png"
    write_png(path, picture)
    write_png(path, picture)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), picture)
    assert path.read_bytes() == png(picture)
    assert [entry.name for entry in path.parent.iterdir()] == ["grid.png"]


@pytest.mark.parametrize("channels", [1, 3])
def test_two_sets_stand_side_by_side_with_a_white_line_between(channels: int) -> None:
    left, right = torch.randint(0, 256, (2, 5, channels, 6, 6), dtype=torch.uint8)
    result = side_by_side(left, right, columns=3)
    wide = 3 * 8 + 2
    assert result.shape[:2] == (2 * 8 + 2, 2 * wide + 4)
    assert np.array_equal(result[:, :wide], grid(left, 3))
    assert np.array_equal(result[:, wide + 4 :], grid(right, 3))
    assert (result[:, wide : wide + 4] == 255).all()


def test_pictures_of_another_shape_are_not_put_side_by_side() -> None:
    one = torch.zeros(4, 1, 6, 6, dtype=torch.uint8)
    for other in (one[:3], one[..., :5], one.repeat(1, 3, 1, 1)):
        with pytest.raises(ConfigError, match="side by side"):
            side_by_side(one, other, columns=2)
