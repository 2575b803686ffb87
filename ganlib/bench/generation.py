"""A fetched generator beside the bare network, taking turns in one process: a part of the benchmark.

``python -m ganlib.bench.generation sample SECONDS``

Ours is ``sample(1000)``: latents, the exported program, quantization to uint8. The bare network's
latents are there already, and nothing is done with its pictures.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from ganlib.bench.parts import Measured, answer, seconds_in_turn
from ganlib.core.networks import Generator
from ganlib.core.sampling import sample_latents
from ganlib.generators.loaded import BATCH, LoadedGenerator
from ganlib.ports import Publication
from ganlib.records import RegisteredGenerator
from ganlib.registry.program import PROGRAM, frozen_copy, read_program, write_program

LATENT_DIM = 100


def network(width: int) -> Generator:
    """DCGAN of 32×32×3, in eval mode."""
    torch.manual_seed(0)
    made = Generator(size=32, channels=3, latent_dim=LATENT_DIM, width=width)
    with torch.no_grad():
        made(torch.randn(BATCH, LATENT_DIM))  # batch norm has statistics
    return made.eval()


def fetched(bare: Generator, folder: Path) -> LoadedGenerator:
    """The network after export and loading, as it comes from the registry."""
    publication = Publication("bench", "bench", "", bare, LATENT_DIM, {})
    frozen, _ = frozen_copy(publication)
    write_program(frozen, publication.example(), folder / PROGRAM)
    registered = RegisteredGenerator(model="bench", version=1, tracking_run_id="")
    return LoadedGenerator(registered, read_program(folder, "the exported network"), LATENT_DIM)


def main(seconds: float, width: int = 64, pictures: int = 1000) -> Measured:
    """Pictures a second of both."""
    bare = network(width)
    with tempfile.TemporaryDirectory(prefix="ganlib-bench-") as folder:
        generator = fetched(bare, Path(folder))
    noise = sample_latents(0, 0, pictures, LATENT_DIM).split(BATCH)

    @torch.no_grad()
    def plain() -> None:
        for batch in noise:
            bare(batch)

    ganlib, beside = seconds_in_turn(lambda: generator.sample(pictures), plain, seconds)
    return Measured(value=pictures / ganlib, beside=pictures / beside)


if __name__ == "__main__":
    answer(lambda: main(float(sys.argv[2])))
