from __future__ import annotations

import pytest

from ganlib.config.objective_parts import AugmentationConfig
from ganlib.training.augmenting import augmentation_in_words


@pytest.mark.parametrize(
    ("values", "pictures", "says"),
    [
        ({}, 2_000, []),
        ({}, 1_999, ["warning: 1,999 training pictures, fewer than 2,000, and augmentation is off: "]),
        (
            {"kind": "diffaugment", "probability": 0.5, "cutout": False},
            100,
            ["augmentation: the critic sees colour, translation, each with probability 0.5"],
        ),
        (
            {"kind": "diffaugment", "adaptive": True},
            60_000,
            ["colour, translation, cutout, each with an adaptive probability from 0 on (target 0.6, "],
        ),
    ],
)
def test_a_run_says_how_it_augments_or_that_it_should(values: dict, pictures: int, says: list[str]) -> None:
    lines = list(augmentation_in_words(AugmentationConfig(**values), pictures))
    assert len(lines) == len(says)
    for line, part in zip(lines, says, strict=True):
        assert part in line
