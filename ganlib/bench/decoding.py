"""Photographs decoded and scaled on one core, beside Pillow alone, in turn: a part of the benchmark.

``python -m ganlib.bench.decoding decode SECONDS``
"""

from __future__ import annotations

import io
import math
import statistics
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganlib.bench.parts import Measured, answer, seconds_in_turn
from ganlib.data.formats.decode import decode_picture, fit_picture, read_picture

WIDTH, HEIGHT, SIZE = 640, 480, 64
COUNT = 32
GRAIN = 1.5
"""Standard deviation of the noise, of 255: files of about 50 kB, a little more than State Farm's."""


def photograph(number: int) -> bytes:
    """A JPEG of quality 90, the same one anywhere: soft light, texture, sharp discs and grain."""
    random = np.random.default_rng(number)

    def soft(cells: int) -> NDArray[Any]:
        small = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        return np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float64)

    light, texture = soft(8), soft(40)
    y, x = np.indices((HEIGHT, WIDTH))
    for _ in range(8):
        across, down, radius = random.integers((0, 0, 20), (WIDTH, HEIGHT, 120))
        light[(x - across) ** 2 + (y - down) ** 2 < radius**2] = random.integers(0, 256, 3)
    pixels = 0.8 * light + 0.2 * (texture - 128) + random.normal(0, GRAIN, light.shape)
    out = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    return out.getvalue()


def plain(data: bytes) -> NDArray[Any]:
    """The same by Pillow alone, as one would write it: uint8 [64, 64, 3]."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.resize((SIZE, SIZE)))


def psnr(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Peak signal-to-noise ratio of two uint8 arrays, in dB."""
    error = float(((first.astype(np.float64) - second) ** 2).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def main(seconds: float, count: int = COUNT) -> Measured:
    """Pictures a second of a core's own time, and how near the pixels are to those of the full decode."""
    files = [photograph(number) for number in range(count)]

    def fast(data: bytes) -> NDArray[Any]:
        return decode_picture(data, "a photograph", SIZE, "crop", 3)

    ganlib, beside = seconds_in_turn(
        lambda: [fast(data) for data in files],
        lambda: [plain(data) for data in files],
        seconds,
        time.process_time,
    )
    near = [
        psnr(fast(data), fit_picture(read_picture(data, "a photograph"), SIZE, "crop", 3)) for data in files
    ]
    note = f"PSNR to the full decode {statistics.mean(near):.1f} dB in the mean, {min(near):.1f} at least"
    return Measured(value=count / ganlib, beside=count / beside, note=note)


if __name__ == "__main__":
    answer(lambda: main(float(sys.argv[2])))
