"""First and last convolutions of the two networks, as matrix products where those are faster on a CPU.

torch computes convolutions on a CPU with oneDNN, which is fast for many channels and many pixels. The
first and last layers have a single pixel (a latent, a score) or a single channel (a grey picture), for
which a matrix product is faster. Each class has the parameters of the torch layer that it derives from
and computes the same function. With them a DCGAN of 28×28×1, width 16, makes 1.1 to 1.3 times as many
steps a second on AVX2 (batch 32 and 64, one thread and two). Other devices use torch's own kernels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class FromLatent(nn.ConvTranspose2d):
    """Latents [batch, features, 1, 1] → feature maps [batch, channels, side, side].

    Args:
        features: Length of a latent, including the label's embedding.
        channels: Channels of the feature map.
        side: Side of the feature map in pixels, and of the kernel.
        bias: Whether to add a bias.
    """

    def __init__(self, features: int, channels: int, side: int, *, bias: bool) -> None:
        super().__init__(features, channels, side, bias=bias)

    def forward(self, latents: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return the feature maps, in the weight's memory layout."""
        if latents.device.type != "cpu":
            return super().forward(latents, output_size)
        last = self.weight.is_contiguous(memory_format=torch.channels_last)
        weight = self.weight.permute(0, 2, 3, 1) if last else self.weight
        flat = latents.flatten(1) @ weight.flatten(1)
        maps: Tensor = flat.unflatten(1, weight.shape[1:])
        if last:
            maps = maps.permute(0, 3, 1, 2)
        return maps if self.bias is None else maps + self.bias[:, None, None]


class ToScore(nn.Conv2d):
    """Feature maps [batch, channels, side, side] → scores [batch, 1, 1, 1].

    Args:
        channels: Channels of the feature map.
        side: Side of the feature map in pixels, and of the kernel.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__(channels, 1, side)

    def forward(self, features: Tensor) -> Tensor:
        """Return the scores."""
        if features.device.type != "cpu":
            return super().forward(features)
        # Flatten with channels last, the usual memory layout of the features: nothing is copied.
        flat, weight = (t.permute(0, 2, 3, 1).flatten(1) for t in (features, self.weight))
        return functional.linear(flat, weight, self.bias)[:, :, None, None]


class FromPicture(nn.Conv2d):
    """Pictures [batch, channels, 2h, 2w] → feature maps [batch, width, h, w]; kernel 4, stride 2, padding 1.

    Args:
        channels: Channels of the pictures.
        width: Channels of the feature maps.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width, 4, 2, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the feature maps."""
        if pictures.device.type != "cpu" or self.in_channels > 1:
            return super().forward(pictures)
        # With each 2×2 block of pixels turned into channels, this is a 2×2 convolution of stride 1:
        # four neighbouring blocks side by side make a row, and rows times weights are the maps.
        blocks = functional.pixel_unshuffle(functional.pad(pictures, (1, 1, 1, 1)), 2).permute(0, 2, 3, 1)
        weight = self.weight.view(-1, 2, 2, 2, 2).permute(0, 1, 3, 2, 4)
        height, width = blocks.shape[1] - 1, blocks.shape[2] - 1
        corners = [blocks[:, y : y + height, x : x + width] for y in (0, 1) for x in (0, 1)]
        return functional.linear(torch.cat(corners, dim=3), weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class ToPicture(nn.ConvTranspose2d):
    """Feature maps [batch, width, h, w] → pictures [batch, channels, 2h, 2w]; kernel 4, stride 2, padding 1.

    Args:
        width: Channels of the feature maps.
        channels: Channels of the pictures.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__(width, channels, 4, 2, 1)

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return the pictures, before the last activation."""
        if features.device.type != "cpu" or self.out_channels > 1 or self.bias is None:
            return super().forward(features, output_size)
        # Each pixel's contribution to a 4×4 patch of the picture; fold sums the overlapping patches.
        patches = self.weight.flatten(1).T @ features.flatten(2)
        size = (2 * features.shape[2], 2 * features.shape[3])
        return functional.fold(patches, size, 4, padding=1, stride=2) + self.bias[:, None, None]
