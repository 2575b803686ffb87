from __future__ import annotations

import pytest
import torch

from ganlib.core.average import Averaging, update_average
from ganlib.core.cadence import Cadence
from ganlib.core.dense import DenseCritic, DenseGenerator
from ganlib.core.hardware import Acceleration, accelerate
from ganlib.core.layers import Norm
from ganlib.core.networks import GEOMETRY, Critic, Generator
from ganlib.core.sampling import calibrate_batch_norm, generate, latents
from ganlib.core.steps import WorkerPlace, to_float


@pytest.mark.parametrize("size", sorted(GEOMETRY))
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_fit_each_other_at_every_size(size: int, channels: int) -> None:
    generator = Generator(size=size, channels=channels, latent_dim=5, width=4)
    pictures = generator(torch.randn(3, 5))
    assert pictures.shape == (3, channels, size, size)
    assert float(pictures.detach().abs().max()) <= 1
    assert Critic(size=size, channels=channels, width=4)(pictures).shape == (3,)


@pytest.mark.parametrize("norm", ["batch", "layer", "group", "none"])
def test_networks_of_any_width_depth_and_number_of_classes(norm: Norm) -> None:
    generator = Generator(size=32, channels=3, latent_dim=5, width=5, norm=norm, extra_layers=2, classes=4)
    labels = torch.tensor([0, 3, 1])
    pictures = generator(torch.randn(3, 5), labels)
    assert pictures.shape == (3, 3, 32, 32)
    critic = Critic(size=32, channels=3, width=5, norm=norm, extra_layers=2, classes=4)
    assert critic(pictures, labels).shape == (3,)
    with pytest.raises(ValueError, match="labels"):
        generator(torch.randn(3, 5))


def test_a_conditional_generator_makes_different_pictures_for_different_labels() -> None:
    torch.manual_seed(0)
    for generator in (
        Generator(size=28, channels=1, latent_dim=5, width=4, classes=2).eval(),
        DenseGenerator(size=28, channels=1, latent_dim=5, widths=(8,), classes=2).eval(),
    ):
        noise = torch.randn(1, 5)
        made = [generator(noise, torch.tensor([label])) for label in (0, 1)]
        assert not torch.allclose(*made)
        with pytest.raises(ValueError, match="labels"):
            Generator(size=28, channels=1, latent_dim=5, width=4)(noise, torch.tensor([0]))


def test_the_fully_connected_pair_has_the_layers_of_its_source() -> None:
    generator = DenseGenerator(size=28, channels=1, latent_dim=100, widths=(256, 512, 1024))
    critic = DenseCritic(size=28, channels=1, widths=(1024, 512, 256), dropout=0.3)
    linear = [
        m for network in (generator, critic) for m in network.modules() if isinstance(m, torch.nn.Linear)
    ]
    assert [(m.in_features, m.out_features) for m in linear] == [
        (100, 256), (256, 512), (512, 1024), (1024, 784), (784, 1024), (1024, 512), (512, 256), (256, 1),
    ]  # fmt: skip
    pictures = generator(torch.randn(2, 100))
    assert pictures.shape == (2, 1, 28, 28)
    assert float(pictures.detach().abs().max()) <= 1
    assert critic.eval()(pictures).shape == (2,)


@pytest.mark.parametrize("norm", ["batch", "layer", "group", "none"])
def test_weights_are_initialized_as_in_dcgan(norm: Norm) -> None:
    torch.manual_seed(0)
    critic = Critic(size=64, channels=3, width=32, norm=norm)
    convolution = critic.layers[2].weight
    assert float(convolution.detach().std()) == pytest.approx(0.02, rel=0.05)
    scales = [m.weight for m in critic.modules() if isinstance(m, (torch.nn.BatchNorm2d, torch.nn.GroupNorm))]
    assert len(scales) == (0 if norm == "none" else 3)
    for scale in scales:
        assert float(scale.detach().mean()) == pytest.approx(1, abs=0.02)


def test_bursts_come_at_the_start_and_every_500_generator_steps() -> None:
    cadence = Cadence(5, bursts=True)
    assert [cadence.critic_steps(step) for step in (0, 24, 25, 499, 500, 501, 1000)] == [
        100, 100, 5, 5, 100, 5, 100,
    ]  # fmt: skip
    assert {Cadence(7).critic_steps(step) for step in (0, 24, 500)} == {7}


@pytest.mark.parametrize(
    "cadence",
    [Cadence(2), Cadence(5, bursts=True), Cadence(3, True, burst_first=2, burst_every=4, burst_length=7)],
)
def test_the_end_of_a_run_is_foreseen(cadence: Cadence) -> None:
    for total in (1, 63, 64, 6_400, 200_000):
        for done in (0, 1, 3, 26):
            seen = begun = 64 * sum(map(cadence.critic_steps, range(done)))
            step = done
            while seen < total:
                seen += 64 * cadence.critic_steps(step)
                step += 1
            assert cadence.images_at_end(total, 64, begun, done) == seen


def test_two_thousand_images_become_6400_at_100_critic_steps() -> None:
    assert Cadence(100).images_at_end(2_000, 64) == 6_400
    assert Cadence(5, bursts=True).images_at_end(2_000, 64) == 6_400
    assert Cadence(1).images_at_end(10**12, 2) == 10**12, "in no time"


def test_latents_depend_on_seed_stream_and_step_only() -> None:
    first = latents(1, "critic", 7, 4, 3)
    assert torch.equal(first, latents(1, "critic", 7, 4, 3))
    for other in (
        latents(2, "critic", 7, 4, 3),
        latents(1, "generator", 7, 4, 3),
        latents(1, "critic", 8, 4, 3),
    ):
        assert not torch.equal(first, other)


def test_workers_share_a_batch_without_overlap() -> None:
    batch = torch.arange(12)
    shares = [WorkerPlace(rank, 3).share(batch) for rank in range(3)]
    assert torch.equal(torch.cat(shares), batch)


def test_bytes_become_floats_from_minus_one_to_one() -> None:
    pictures = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    assert to_float(pictures, torch.device("cpu")).flatten().tolist() == [-1.0, 1.0]


@pytest.mark.parametrize(
    ("seen", "since", "expected"),
    [(1_000, 50, 0.5), (10_000_000, 10_000, 0.5), (0, 64, 0.0)],
)
def test_the_averages_half_life_warms_up(seen: int, since: int, expected: float) -> None:
    assert Averaging(10_000, warmup=0.05).decay(seen, since) == pytest.approx(expected)


def test_the_average_moves_by_the_decay() -> None:
    old, new = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    expected = 0.75 * old.weight.detach() + 0.25 * new.weight.detach()
    update_average(old, new, 0.75)
    torch.testing.assert_close(old.weight.detach(), expected)


def test_calibration_measures_the_batch_norm_statistics_of_the_present_weights() -> None:
    torch.manual_seed(0)
    generator = Generator(size=28, channels=1, latent_dim=8, width=4)
    norm = next(m for m in generator.modules() if isinstance(m, torch.nn.BatchNorm2d))
    norm.running_mean.fill_(9)  # type: ignore[union-attr]
    calibrate_batch_norm(generator, seed=0)
    noise = torch.cat([latents(0, "calibrate", step, 256, 8) for step in range(16)])
    expected = generator.layers[0](noise[:, :, None, None]).mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected.detach(), atol=1e-5, rtol=1e-4)
    assert norm.momentum == pytest.approx(0.1)


def test_generating_restores_the_mode_and_does_not_depend_on_the_batch_size() -> None:
    generator = Generator(size=28, channels=1, latent_dim=8, width=4)
    noise = torch.randn(10, 8)
    torch.testing.assert_close(generate(generator, noise, batch=3), generate(generator, noise))
    assert generator.training


def test_auto_precision_is_bf16_only_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert accelerate(cpu).describe() == "bf16, channels_last, not compiled"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "amx_bf16": False})
    assert accelerate(cpu) == Acceleration("fp32", "channels_last", "off")
    asked = accelerate(cpu, "bf16", "contiguous", "default")
    assert asked.describe() == "bf16, contiguous, compiled (default)"
    with pytest.raises(ValueError, match="tf32 is a format of CUDA devices"):
        accelerate(cpu, "tf32")
