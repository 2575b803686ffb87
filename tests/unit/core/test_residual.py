from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import islice

import pytest
import torch
from test_loop import LATENT, make_plan, pictures
from torch import nn
from torch.nn import functional

from ganlib.core.checkpoint import dump_state, restore_state
from ganlib.core.layers import CriticNorm, Norm
from ganlib.core.loop import train
from ganlib.core.objectives import R1, Hinge, WassersteinGradientPenalty
from ganlib.core.residual import RESIDUAL_GEOMETRY, DownBlock, ResidualCritic, ResidualGenerator, UpBlock
from ganlib.core.spectral import spectral_norms
from ganlib.core.state import TrainState


@pytest.mark.parametrize("size", [28, 32, 64, 128, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_pair_fits_at_every_size(size: int, channels: int) -> None:
    assert size in RESIDUAL_GEOMETRY
    generator = ResidualGenerator(size=size, channels=channels, latent_dim=5, width=4)
    pictures = generator(torch.randn(2, 5))
    assert pictures.shape == (2, channels, size, size)
    assert float(pictures.detach().abs().max()) <= 1
    critic = ResidualCritic(size=size, channels=channels, width=4)
    assert critic(pictures).shape == (2,)
    smallest = critic.layers(pictures).shape[2:]
    assert tuple(smallest) == (RESIDUAL_GEOMETRY[size][0],) * 2


def test_channels_double_with_each_halving_up_to_16_times_the_width() -> None:
    generator = ResidualGenerator(size=256, channels=3, latent_dim=5, width=4)
    critic = ResidualCritic(size=256, channels=3, width=4)
    into = [block.shortcut[0] for block in generator.layers if isinstance(block, UpBlock)]
    out = [block.shortcut[1] for block in critic.layers if len(getattr(block, "shortcut", ())) == 2]
    assert [convolution.out_channels for convolution in into] == [64, 64, 32, 16, 8, 4]
    assert [convolution.out_channels for convolution in out] == [4, 8, 16, 32, 64, 64]


@pytest.mark.parametrize("norm", ["batch", "layer", "group", "none"])
def test_any_normalization_and_labels(norm: Norm) -> None:
    labels = torch.tensor([0, 3, 1])
    generator = ResidualGenerator(size=28, channels=1, latent_dim=5, width=5, norm=norm, classes=4)
    pictures = generator(torch.randn(3, 5), labels)
    assert ResidualCritic(size=28, channels=1, width=5, norm=norm, classes=4)(pictures, labels).shape == (3,)
    with pytest.raises(ValueError, match="labels"):
        generator(torch.randn(3, 5))


def test_blocks_compute_what_the_papers_have_in_another_order() -> None:
    """There the shortcut enlarges first, and shrinks last."""
    torch.manual_seed(0)
    features = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    up, down = UpBlock(3, 5, "none").double(), DownBlock(3, 5, "none").double()
    first, second = (layer for layer in up.residual if isinstance(layer, nn.Conv2d))
    large = functional.interpolate(features, scale_factor=2, mode="nearest")
    straight = second(first(functional.interpolate(features.relu(), scale_factor=2, mode="nearest")).relu())
    torch.testing.assert_close(up(features), straight + up.shortcut[0](large))
    first, second = (layer for layer in down.residual if isinstance(layer, nn.Conv2d))
    straight = functional.avg_pool2d(second(first(features.relu()).relu()), 2)
    torch.testing.assert_close(
        down(features), straight + functional.avg_pool2d(down.shortcut[1](features), 2)
    )


def test_a_block_does_not_change_what_it_is_given() -> None:
    for block in (UpBlock(3, 3, "none"), DownBlock(3, 3, "none", halve=False)):
        features = torch.randn(2, 3, 4, 4)
        before = features.clone()
        block(features)
        assert torch.equal(features, before)


def make_state(norm: CriticNorm, seed: int) -> TrainState:
    torch.manual_seed(seed)
    generator = ResidualGenerator(size=28, channels=1, latent_dim=LATENT, width=4, classes=3)
    critic = ResidualCritic(size=28, channels=1, width=4, norm=norm, classes=3)
    adam = partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.9), fused=True)
    return TrainState.fresh(generator, critic, adam, adam)


@pytest.mark.parametrize("norm", ["spectral", "layer"])
def test_a_run_resumes_to_the_bit(norm: CriticNorm) -> None:
    objective = Hinge() if norm == "spectral" else WassersteinGradientPenalty()
    plan = replace(make_plan(4, n_critic=2), objective=objective, r1=R1(0.1, every=2))
    whole, first, second = make_state(norm, 0), make_state(norm, 0), make_state(norm, 99)
    curve = [float(p.critic_loss) for p in train(whole, pictures, plan)]
    before = [float(p.critic_loss) for p in islice(train(first, pictures, plan), 2)]
    restore_state(second, *dump_state(first))
    assert [*before, *(float(p.critic_loss) for p in train(second, pictures, plan))] == curve
    assert dump_state(second)[0] == dump_state(whole)[0]


def test_every_weight_of_the_critic_comes_under_spectral_normalization() -> None:
    critic = make_state("spectral", 0).critic
    weights = [m for m in critic.modules() if isinstance(m, (nn.Conv2d, nn.Linear, nn.Embedding))]
    assert len(list(spectral_norms(critic))) == len(weights) == 3 + 3 + 2 + 2
