"""The plain loop: a WGAN as one writes it in an afternoon, to compare with.

Nothing of ganlib is in here but where its pictures lie. Eager, float32, NCHW; pictures from
``ImageFolder`` by a ``DataLoader`` of two processes; two critic passes in each critic step, which
keep real and generated pictures apart for batch norm; parameters clamped one by one. As in the WGAN
authors' code, critic steps build no graph of the generator, and generator steps keep no gradients
of the critic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms
from torchvision.datasets import ImageFolder

from ganlib.data.formats.decode import decode_picture
from ganlib.data.split import pixel_digest, split_pictures

BATCH, LATENT, SIZE, N_CRITIC, LOADERS = 64, 100, 64, 5, 2
CLIP, LEARNING_RATE = 0.01, 5e-5


def generator(width: int = 64) -> nn.Sequential:
    """Latents [batch, 100, 1, 1] → pictures [batch, 3, 64, 64]."""
    layers: list[nn.Module] = [
        nn.ConvTranspose2d(LATENT, width * 8, 4, 1, 0, bias=False),
        nn.BatchNorm2d(width * 8),
        nn.ReLU(True),
    ]
    for channels in (width * 8, width * 4, width * 2):
        layers += [
            nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(channels // 2),
            nn.ReLU(True),
        ]
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, 4, 2, 1), nn.Tanh()).apply(weights)


def critic(width: int = 64) -> nn.Sequential:
    """Pictures [batch, 3, 64, 64] → scores [batch, 1, 1, 1]."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for channels in (width, width * 2, width * 4):
        layers += [
            nn.Conv2d(channels, channels * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(channels * 2),
            nn.LeakyReLU(0.2, True),
        ]
    return nn.Sequential(*layers, nn.Conv2d(width * 8, 1, 4)).apply(weights)


def weights(module: nn.Module) -> None:
    """DCGAN's initial weights."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


@dataclass(frozen=True)
class Plain:
    """Networks and optimizers, with the two steps."""

    generator: nn.Module
    critic: nn.Module
    generator_optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    clip: float = CLIP

    @classmethod
    def fresh(cls, width: int = 64, learning_rate: float = LEARNING_RATE, clip: float = CLIP) -> Plain:
        """Before the first step."""
        makes, scores = generator(width), critic(width)
        return cls(
            makes,
            scores,
            torch.optim.RMSprop(makes.parameters(), lr=learning_rate),
            torch.optim.RMSprop(scores.parameters(), lr=learning_rate),
            clip,
        )

    def critic_step(self, real: Tensor, noise: Tensor) -> None:
        """Improve the critic on pictures [batch, 3, 64, 64] in [−1, 1] and latents [batch, 100, 1, 1]."""
        self.critic_optimizer.zero_grad()
        with torch.no_grad():
            fake = self.generator(noise)
        loss = -(self.critic(real).mean() - self.critic(fake).mean())
        loss.backward()
        self.critic_optimizer.step()
        for parameter in self.critic.parameters():
            parameter.data.clamp_(-self.clip, self.clip)

    def generator_step(self, noise: Tensor) -> None:
        """Improve the generator on latents [batch, 100, 1, 1]."""
        for parameter in self.critic.parameters():
            parameter.requires_grad = False
        self.generator_optimizer.zero_grad()
        loss = -self.critic(self.generator(noise)).mean()
        loss.backward()
        self.generator_optimizer.step()
        for parameter in self.critic.parameters():
            parameter.requires_grad = True


def loader(folder: Path) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches of the pictures that ganlib trains on, too: float [64, 3, 64, 64] in [−1, 1]."""
    paths = sorted(folder.glob("*/*"))
    decoded = (decode_picture(path.read_bytes(), str(path), SIZE, "crop", 3) for path in paths)
    labels = {name: label for label, name in enumerate(sorted({path.parent.name for path in paths}))}
    split = split_pictures([pixel_digest(image) for image in decoded], [labels[p.parent.name] for p in paths])
    train = {str(paths[position]) for position in split.train}
    pictures = ImageFolder(
        str(folder),
        transforms.Compose(
            [transforms.Resize(SIZE), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
        ),
        is_valid_file=train.__contains__,
    )
    return DataLoader(pictures, BATCH, shuffle=True, num_workers=LOADERS, drop_last=True)


def batches(folder: Path) -> Iterator[Tensor]:
    """The loader's pictures, epoch after epoch."""
    given = loader(folder)
    while True:
        for pictures, _ in given:
            yield pictures


def train(folder: Path) -> Iterator[int]:
    """Train for ever; yields the pictures that the critic has seen after every generator step."""
    plain, given, seen = Plain.fresh(), batches(folder), 0
    while True:
        for _ in range(N_CRITIC):
            plain.critic_step(next(given), torch.randn(BATCH, LATENT, 1, 1))
            seen += BATCH
        plain.generator_step(torch.randn(BATCH, LATENT, 1, 1))
        yield seen


def flop_per_image(width: int = 64, batch: int = 4) -> float:
    """Floating-point operations of matrix products and convolutions for each picture the critic sees.

    What the two steps need, counted as torch calls it: it does not depend on how fast they are made.
    """
    plain = Plain.fresh(width)
    with FlopCounterMode(display=False) as critic_step:
        plain.critic_step(torch.rand(batch, 3, SIZE, SIZE), torch.randn(batch, LATENT, 1, 1))
    with FlopCounterMode(display=False) as generator_step:
        plain.generator_step(torch.randn(batch, LATENT, 1, 1))
    total: float = critic_step.get_total_flops() + generator_step.get_total_flops() / N_CRITIC
    return total / batch
