"""The augmentation of a run, in words for its log."""

from __future__ import annotations

from collections.abc import Iterator

from ganlib.config.objective_parts import AugmentationConfig

FEW_PICTURES = 2_000
"""Training pictures below which augmentation is recommended: the fewer there are, the earlier a critic
overfits (arXiv:2006.06676, figure 1)."""


def augmentation_in_words(config: AugmentationConfig, pictures: int) -> Iterator[str]:
    """Yield the lines that a run's log begins with: the augmentation, or that it would be advisable.

    Args:
        config: The run's augmentation.
        pictures: Number of training pictures.
    """
    if config.kind == "off":
        if pictures < FEW_PICTURES:
            yield (
                f"warning: {pictures:,} training pictures, fewer than {FEW_PICTURES:,}, and augmentation is "
                "off: the critic may learn them by heart; augmentation.kind=diffaugment helps against it"
            )
        return
    policies = [name for name in ("colour", "translation", "cutout") if getattr(config, name)]
    chance = f"with probability {config.probability:g}"
    if config.adaptive:
        chance = (
            f"with an adaptive probability from 0 on (target {config.target:g}, 0 to 1 in "
            f"{config.ramp_kimg:g} kimg)"
        )
    yield f"augmentation: the critic sees {', '.join(policies)}, each {chance}"
