"""The animated GIF of a training."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from ganlib.quality.film import MAX_FRAMES, MAX_SIDE, chosen, film


def frame(shade: int, height: int = 24, width: int = 40, channels: int = 1) -> bytes:
    shape = (height, width) if channels == 1 else (height, width, channels)
    buffer = io.BytesIO()
    Image.fromarray(np.full(shape, shade, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
def test_frames_come_in_their_order_and_the_last_one_rests(channels: int) -> None:
    data = film([frame(shade, channels=channels) for shade in (0, 100, 255)])
    assert data is not None
    with GifImageFile(io.BytesIO(data)) as movie:
        assert (movie.format, movie.size, movie.n_frames) == ("GIF", (40, 24), 3)
        assert movie.info["loop"] == 0
        shades, durations = [], []
        for index in range(3):
            movie.seek(index)
            shades.append(np.asarray(movie.convert("L"))[0, 0])
            durations.append(movie.info["duration"])
    assert shades == pytest.approx([0, 100, 255], abs=2)
    assert durations[0] == durations[1] < durations[2]


def test_a_film_is_bounded_in_frames_and_size() -> None:
    data = film([frame(2 * index, 700, 1400) for index in range(MAX_FRAMES + 5)])
    assert data is not None
    with GifImageFile(io.BytesIO(data)) as movie:
        assert movie.n_frames == MAX_FRAMES
        assert movie.size == (MAX_SIDE, MAX_SIDE // 2)


def test_a_damaged_frame_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    data = film([frame(0), frame(50)[:-30], b"none", frame(255)])
    assert data is not None
    with GifImageFile(io.BytesIO(data)) as movie:
        assert movie.n_frames == 2
    assert caplog.text.count("left out") == 2
    assert film([b"none"]) is None
    assert film([]) is None


@pytest.mark.parametrize("count", [0, 1, MAX_FRAMES, MAX_FRAMES + 1, 1000])
def test_frames_are_chosen_evenly_with_the_first_and_the_last(count: int) -> None:
    found = chosen(count)
    assert len(found) == len(set(found)) == min(count, MAX_FRAMES)
    assert found == sorted(found)
    if count:
        assert (found[0], found[-1]) == (0, count - 1)
