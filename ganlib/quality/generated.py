"""From a generator to features: its pictures, quantized as they would be in a file."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ganlib.errors import TrainingError
from ganlib.quality.features import Extractor

Generate = Callable[..., Tensor]
"""Latents [n, …], and labels int64 [n] if it takes any, to pictures, floating point [n, channels, height,
width] in [−1, 1]; in eval mode."""


def to_uint8(images: Tensor) -> Tensor:
    """Pictures in [−1, 1] as uint8 of the same shape: ``round((x + 1) · 127.5)``, clamped to 0 … 255.

    The one way in which a picture is quantized, for distances and for files alike.

    Raises:
        TrainingError: A pixel is not finite; casting it would give some harmless-looking grey.
    """
    # One pass finds the smallest and largest pixel; a NaN would be both.
    if images.numel() and not torch.stack(images.aminmax()).isfinite().all():
        raise TrainingError(
            "the generator made pictures with pixels that are not finite; "
            "go back to an earlier checkpoint, and lower the learning rates or the clip value"
        )
    return (images.float() + 1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


@torch.inference_mode()
def generate_features(
    generate: Generate,
    extractor: Extractor,
    latents: Tensor,
    labels: Tensor | None = None,
    batch: int = 64,
) -> Tensor:
    """Features float32 [n, dimensions] of the pictures generated from n latents, quantized to uint8 first.

    Args:
        generate: The generator.
        extractor: Computes the features.
        latents: float32 [n, …].
        labels: int64 [n], for a conditional generator.
        batch: Latents given to the generator at a time; it bounds memory and changes no result,
            as long as the generator treats each latent by itself, as it does in eval mode.

    Raises:
        TrainingError: The generator made pixels that are not finite.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    features = torch.empty(len(latents), extractor.dimensions)
    for start in range(0, len(latents), batch):
        here = slice(start, start + batch)
        images = generate(latents[here]) if labels is None else generate(latents[here], labels[here])
        features[here] = extractor(to_uint8(images))
    return features
