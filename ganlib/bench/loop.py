"""ganlib's loop, the plain one, and the machine's matrix-multiply peak: parts of the benchmark.

``python -m ganlib.bench.loop ganlib|plain|peak SECONDS``
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from ganlib.bench import benchmark_data, plain, rates
from ganlib.bench.parts import Measured, answer
from ganlib.core.hardware import accelerate
from ganlib.core.steps import WorkerPlace
from ganlib.data.cache import LocalDataset
from ganlib.settings import load_settings

PRODUCT = 2048
"""Side of the square matrices whose product counts as the peak."""


def ganlib_loop(dataset: LocalDataset, seconds: float) -> Measured:
    """Pictures a second of ganlib's loop."""
    rate = rates.measure(rates.config(), dataset, WorkerPlace(), seconds)
    return Measured(value=rate.images_per_second, precision=rate.precision, waiting_share=rate.waiting_share)


def plain_loop(folder: Path, seconds: float) -> Measured:
    """Pictures a second of the plain loop."""
    images, elapsed, _ = rates.stretch(plain.train(folder), seconds)
    return Measured(value=images / elapsed, precision="fp32", flop_per_image=plain.flop_per_image())


def peak(seconds: float, side: int = PRODUCT) -> Measured:
    """FLOP/s of products of square matrices, in the format that ganlib's loop takes here."""
    precision = accelerate(torch.device("cpu")).precision
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = torch.randn(2, side, side).to(dtype)
    for _ in range(rates.WARM_UP):
        left @ right
    began, products = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < seconds or not products:
        left @ right
        products += 1
    return Measured(value=products * 2 * side**3 / elapsed, precision=precision)


def main(which: str, seconds: float) -> Measured:
    """Measure one of the three."""
    if which == "peak":
        return peak(seconds)
    settings = load_settings()
    dataset = benchmark_data.pictures(settings)
    return (
        ganlib_loop(dataset, seconds)
        if which == "ganlib"
        else plain_loop(benchmark_data.folder_of(settings), seconds)
    )


if __name__ == "__main__":
    answer(lambda: main(sys.argv[1], float(sys.argv[2])))
