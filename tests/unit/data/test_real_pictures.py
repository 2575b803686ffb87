"""Real pictures: the 2,624 solar cells of the PyPI package elpv-dataset (CC BY-NC-SA, never copied)."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganlib.data.formats.decode import decode_picture

PACKAGE = importlib.util.find_spec("elpv_dataset")


@pytest.mark.slow
@pytest.mark.skipif(PACKAGE is None, reason="elpv-dataset is not installed; `make setup` installs it")
def test_every_solar_cell_is_decoded_as_it_looks() -> None:
    assert PACKAGE is not None
    assert PACKAGE.origin is not None
    paths = sorted(Path(PACKAGE.origin).parent.glob("data/images/*.png"))
    assert len(paths) == 2624
    for path in paths:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            assert image.size == (300, 300)
            # Each of the 10 × 10 parts of a square picture has the same mean before and after scaling.
            expected = np.asarray(image.convert("L"), np.float32).reshape(10, 30, 10, 30).mean((1, 3))
        made = decode_picture(data, path.name, 100, "crop", 1)
        assert (made.shape, made.dtype) == ((1, 100, 100), np.uint8)
        found = made[0].astype(np.float32).reshape(10, 10, 10, 10).mean((1, 3))
        np.testing.assert_allclose(found, expected, atol=3, err_msg=path.name)
