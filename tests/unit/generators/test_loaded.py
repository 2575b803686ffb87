from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ganlib.core.sampling import sample_latents
from ganlib.errors import ConfigError, UnknownName
from ganlib.generators.loaded import LoadedGenerator
from ganlib.names import parse_reference
from ganlib.quality.generated import to_uint8


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


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"seed": "x"}, "seed 'x' is not a whole number: give one between 0 and 2147483647, as in seed=1"),
        ({"count": "4"}, "count '4' is not a whole number: give one between 1 and 1000000, as in count=1"),
        ({"count": 4.0}, "count 4.0 is not a whole number: give one between 1 and 1000000, as in count=1"),
        ({"count": True}, "count True is not a whole number: give one between 1 and 1000000, as in count=1"),
        ({"count": -4}, "count -4 must be between 1 and 1000000"),
        ({"count": 2**20000}, "count of 20001 bits must be between 1 and 1000000"),
        ({"truncation": "1"}, "truncation '1' is not a number: give one between 0.01 and 4, or leave it out"),
        (
            {"label": 2},
            "label 2 is not the name of a class of labelled: give one of 'boot', 'shirt', 'bag', or leave "
            "it out",
        ),
        ({"label": ["bag"]}, "label ['bag'] is not the name"),
    ],
)
def test_values_of_another_type_are_refused(
    conditional: LoadedGenerator, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as refused:
        conditional.sample(**{"count": 4} | given)
    assert "\n" not in str(refused.value)


def test_whole_numbers_of_other_libraries_are_taken(generator: LoadedGenerator) -> None:
    seed: Any = np.int64(3)
    count: Any = torch.tensor(4)
    assert torch.equal(generator.sample(count, seed), generator.sample(4, 3))


@pytest.mark.parametrize(
    ("seeds", "steps", "says"),
    [
        (5, 4, "seeds 5 are no list: give 2 to 1000"),
        (["a", 1], 4, "seed 'a' is not a whole number"),
        ([1, 2], "4", "steps '4' is not a whole number"),
        ([1, 2], 2.5, r"steps 2\.5 is not a whole number"),
    ],
)
def test_interpolations_between_no_numbers_are_refused(
    generator: LoadedGenerator, seeds: Any, steps: Any, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        generator.interpolate(seeds, steps)


def test_latents_and_labels_of_another_type_are_refused(conditional: LoadedGenerator) -> None:
    noise = torch.zeros(2, 5)
    wrong: Any
    for wrong in (noise.numpy(), noise.double()):
        with pytest.raises(ConfigError, match=r"it takes a tensor float32 \[n, 5\]"):
            conditional(wrong)
    for wrong in ([0, 1], torch.tensor([0.0, 1.0]), torch.tensor([True, False]), torch.tensor(1)):
        with pytest.raises(ConfigError, match="do not fit 2 latents of labelled: it takes 2 numbers from 0"):
            conditional(noise, wrong)


def test_a_generator_is_shown_on_one_line(generator: LoadedGenerator, conditional: LoadedGenerator) -> None:
    assert repr(generator) == "Generator(small/1, latent 5, cpu)"
    tags = {"ganlib.image_shape": "1,28,28"}
    assert (
        repr(replace(conditional, registered=conditional.registered.model_copy(update={"tags": tags})))
        == "Generator(labelled/1, 28×28 grey, 3 classes, latent 5, cpu)"
    )
    tags = {"ganlib.image_shape": "3,32,48"}
    coloured = replace(
        generator, registered=generator.registered.model_copy(update={"tags": tags}), offline=True
    )
    assert repr(coloured) == "Generator(small/1, 32×48 colour, latent 5, cpu, from the cache, offline)"


@pytest.mark.parametrize("shape", ["", "28", "1,28,28\n", "2,28,28", "1,x,28"])
def test_a_tag_that_is_no_shape_is_not_shown(generator: LoadedGenerator, shape: str) -> None:
    tags = {"ganlib.image_shape": shape}
    tagged = replace(generator, registered=generator.registered.model_copy(update={"tags": tags}))
    assert repr(tagged) == "Generator(small/1, latent 5, cpu)"


def test_latents_of_another_length_are_refused(generator: LoadedGenerator) -> None:
    with pytest.raises(ConfigError, match=r"\[n, 5\]"):
        generator(torch.zeros(2, 6))


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
