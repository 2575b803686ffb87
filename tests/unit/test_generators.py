from __future__ import annotations

import pytest
import torch

from ganlib.core.networks import Generator
from ganlib.errors import ConfigError, UnknownName
from ganlib.fakes import MemoryRegistry
from ganlib.fetch import load
from ganlib.generators import LoadedGenerator
from ganlib.ports import Publication, parse_reference


@pytest.fixture
def generator() -> LoadedGenerator:
    torch.manual_seed(0)
    registry = MemoryRegistry()
    registry.publish(
        Publication(
            model="small",
            run="r",
            tracking_run_id="t",
            generator=Generator(size=28, channels=1, latent_dim=5, width=4).eval(),
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


@pytest.mark.parametrize("count", [1, 3, 16, 63])
def test_more_pictures_begin_with_the_fewer(generator: LoadedGenerator, count: int) -> None:
    """A pixel may round the other way when the batch is another one."""
    few, many = generator.sample(count, seed=1), generator.sample(64, seed=1)[:count]
    assert int((few.int() - many.int()).abs().max()) <= 1


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
            generator=Generator(size=28, channels=1, latent_dim=5, width=4, classes=3).eval(),
            latent_dim=5,
            classes=("boot", "shirt", "bag"),
            tags={"ganlib.latent_dim": "5", "ganlib.classes": '["boot", "shirt", "bag"]'},
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


@pytest.mark.parametrize(
    ("reference", "expected"),
    [("a@champion", ("a", "champion")), ("a/3", ("a", "3")), ("a", ("a", "champion"))],
)
def test_references(reference: str, expected: tuple[str, str]) -> None:
    assert parse_reference(reference) == expected


@pytest.mark.parametrize("reference", ["", "a@", "@champion", "a/b/c", "a b"])
def test_what_is_no_reference_is_refused(reference: str) -> None:
    with pytest.raises(ConfigError, match="NAME@ALIAS"):
        parse_reference(reference)
