from __future__ import annotations

import pytest
import torch
from torch import nn

from ganlib.core.networks import Generator
from ganlib.core.sampling import sample_latents
from ganlib.errors import ConfigError, UnknownName
from ganlib.fakes.stores import MemoryRegistry
from ganlib.generators.fetch import load
from ganlib.generators.loaded import LoadedGenerator
from ganlib.names import parse_reference
from ganlib.ports import Publication
from ganlib.quality.generated import to_uint8


def lively(network: nn.Module) -> nn.Module:
    """In eval mode, with weights so large that pictures differ."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            nn.init.normal_(parameter, 0, 0.3)
    return network.eval()


@pytest.fixture
def generator() -> LoadedGenerator:
    torch.manual_seed(0)
    registry = MemoryRegistry()
    registry.publish(
        Publication(
            model="small",
            run="r",
            tracking_run_id="t",
            generator=lively(Generator(size=28, channels=1, latent_dim=5, width=4)),
            latent_dim=5,
            tags={"ganlib.latent_dim": "5"},
        )
    )
    registry.move("small", "champion", 1, expected=None, who="test", why="first")
    return load("small", registry)


def test_the_same_seed_gives_the_same_pictures(generator: LoadedGenerator) -> None:
    first = generator.sample(8, seed=1)
    assert first.shape == (8, 1, 28, 28)
    assert first.dtype == torch.uint8
    assert torch.equal(first, generator.sample(8, seed=1))
    assert not torch.equal(first, generator.sample(8, seed=2))


@pytest.mark.parametrize("truncation", [None, 0.7])
@pytest.mark.parametrize("count", [1, 3, 64, 127, 200])
def test_more_pictures_begin_with_the_fewer(
    generator: LoadedGenerator, count: int, truncation: float | None
) -> None:
    many = generator.sample(300, 1, truncation=truncation)
    assert torch.equal(generator.sample(count, 1, truncation=truncation), many[:count])


def test_batches_are_the_pictures_in_parts(generator: LoadedGenerator) -> None:
    parts = list(generator.batches(300, 5))
    assert max(len(part) for part in parts) < 300
    assert torch.equal(torch.cat(parts), generator.sample(300, 5))


def test_pictures_are_those_of_their_latents(generator: LoadedGenerator) -> None:
    noise = sample_latents(4, 0, 9, 5)
    assert torch.equal(generator.sample(9, 4), to_uint8(generator(noise)))


def test_truncated_pictures_differ_less(generator: LoadedGenerator) -> None:
    def variation(truncation: float | None) -> float:
        return float(generator.sample(64, 0, truncation=truncation).float().std(dim=0).mean())

    assert variation(0.04) < 0.3 * variation(0.5) < 0.3 * variation(None)


@pytest.mark.parametrize("threshold", [0, 0.009, -1, 4.1, float("nan"), float("inf")])
def test_thresholds_are_bounded(generator: LoadedGenerator, threshold: float) -> None:
    for make in (
        lambda: generator.sample(1, truncation=threshold),
        lambda: generator.interpolate([1, 2], truncation=threshold),
    ):
        with pytest.raises(ConfigError, match=r"must be between 0\.01 and 4"):
            make()


@pytest.mark.parametrize("truncation", [None, 0.7])
@pytest.mark.parametrize(
    ("seeds", "steps"), [([3, 4], 1), ([3, 4, 5], 7), ([9, 9], 2), ([0, 1, 2], 100), (list(range(300)), 1)]
)
def test_interpolation_goes_from_seed_to_seed(
    generator: LoadedGenerator, seeds: list[int], steps: int, truncation: float | None
) -> None:
    frames = generator.interpolate(seeds, steps, truncation=truncation)
    assert frames.shape == ((len(seeds) - 1) * steps + 1, 1, 28, 28)
    assert frames.dtype == torch.uint8
    for index, seed in enumerate(seeds):
        assert torch.equal(frames[index * steps], generator.sample(1, seed, truncation=truncation)[0])
    assert torch.equal(
        torch.cat(list(generator.interpolated_batches(seeds, steps, None, truncation))), frames
    )


def test_neighbours_of_an_interpolation_are_alike(generator: LoadedGenerator) -> None:
    frames = generator.interpolate([1, 2], 20).float()
    steps = (frames[1:] - frames[:-1]).abs().mean(dim=(1, 2, 3))
    assert float(steps.max()) < 0.3 * float((frames[-1] - frames[0]).abs().mean())


@pytest.mark.parametrize(
    ("seeds", "steps", "says"),
    [
        ([1], 4, "1 seeds cannot be interpolated between"),
        ([0] * 1001, 4, "give 2 to 1000"),
        ([1, -1], 4, "seed -1 must be between"),
        ([1, 2**31], 4, "seed 2147483648 must be between"),
        ([1, 2], 0, "steps 0 must be between 1 and 1000"),
        ([1, 2], 1001, "steps 1001"),
    ],
)
def test_interpolations_are_bounded(
    generator: LoadedGenerator, seeds: list[int], steps: int, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        generator.interpolate(seeds, steps)


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (1_000_001, 0), (1, -1), (1, 2**31)])
def test_counts_and_seeds_are_bounded(generator: LoadedGenerator, count: int, seed: int) -> None:
    with pytest.raises(ConfigError, match="must be between"):
        generator.sample(count, seed)


def test_latents_of_another_length_are_refused(generator: LoadedGenerator) -> None:
    with pytest.raises(ConfigError, match=r"\[n, 5\]"):
        generator(torch.zeros(2, 6))


@pytest.fixture
def conditional() -> LoadedGenerator:
    torch.manual_seed(0)
    registry = MemoryRegistry()
    registry.publish(
        Publication(
            model="labelled",
            run="r",
            tracking_run_id="t",
            generator=lively(Generator(size=28, channels=1, latent_dim=5, width=4, classes=3)),
            latent_dim=5,
            classes=("boot", "shirt", "bag"),
            tags={"ganlib.latent_dim": "5"},
        )
    )
    return load("labelled/1", registry)


def test_pictures_of_one_class_are_those_of_its_label(conditional: LoadedGenerator) -> None:
    noise = torch.randn(4, 5)
    of_bags = conditional(noise, torch.full((4,), 2))
    assert not torch.equal(of_bags, conditional(noise, torch.full((4,), 0)))
    assert torch.equal(conditional.sample(4, 1, "bag"), conditional.sample(4, 1, "bag"))
    assert not torch.equal(conditional.sample(4, 1, "bag"), conditional.sample(4, 1, "boot"))
    in_turn = conditional(noise)
    torch.testing.assert_close(in_turn[2], of_bags[2])


def test_a_label_nobody_knows_is_refused(generator: LoadedGenerator, conditional: LoadedGenerator) -> None:
    with pytest.raises(ConfigError, match="'bag' cannot be asked of small version 1.*network.conditional"):
        generator.sample(1, 0, "bag")
    with pytest.raises(ConfigError, match="trained without labels"):
        generator(torch.zeros(1, 5), torch.tensor([0]))
    with pytest.raises(UnknownName, match="no class of labelled 'bags'.*close to it: bag"):
        conditional.sample(1, 0, "bags")
    for labels in (torch.tensor([3, 0]), torch.tensor([-1, 0]), torch.tensor([0])):
        with pytest.raises(ConfigError, match="2 numbers from 0 to 2"):
            conditional(torch.zeros(2, 5), labels)


def test_an_interpolation_is_of_one_class(conditional: LoadedGenerator) -> None:
    for label in ("boot", "bag"):
        frames = conditional.interpolate([1, 2], 3, label)
        for frame, seed in ((frames[0], 1), (frames[-1], 2)):
            assert torch.equal(frame, conditional.sample(1, seed, label)[0])
    assert torch.equal(conditional.interpolate([1, 2], 3), conditional.interpolate([1, 2], 3, "boot"))
    assert torch.equal(conditional.interpolate([1, 2], 3)[0], conditional.sample(1, 1)[0])


def test_a_class_nobody_has_is_refused_before_pictures_are_made(conditional: LoadedGenerator) -> None:
    with pytest.raises(UnknownName, match="close to it: bag"):
        conditional.batches(3, label="bags")
    with pytest.raises(UnknownName, match="close to it: bag"):
        conditional.interpolated_batches([1, 2], label="bags")


def test_labels_are_those_of_the_pictures(generator: LoadedGenerator, conditional: LoadedGenerator) -> None:
    assert generator.labels(5) is None
    labels = conditional.labels(5)
    assert labels is not None
    assert labels.tolist() == [0, 1, 2, 0, 1]
    noise = sample_latents(0, 0, 5, 5)
    assert torch.equal(conditional.sample(5), to_uint8(conditional(noise, labels)))


@pytest.mark.parametrize(
    ("reference", "expected"),
    [("a@champion", ("a", "champion")), ("a/3", ("a", "3")), ("a", ("a", "champion"))],
)
def test_references(reference: str, expected: tuple[str, str]) -> None:
    assert parse_reference(reference) == expected


@pytest.mark.parametrize("reference", ["", "a@", "@champion", "a/b/c"])
def test_what_is_no_reference_is_refused(reference: str) -> None:
    with pytest.raises(ConfigError, match="NAME@ALIAS"):
        parse_reference(reference)
