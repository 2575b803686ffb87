"""The outermost convolutions of the two networks, as matrix products where those are faster on a CPU.

oneDNN, which computes torch's convolutions on a CPU, is made for many channels in and out and many
pixels. The outermost layers have one of something: one pixel (a latent, a score) or one channel (a
grey picture). Each class here is the torch layer that it derives from, with the same parameters and
the same function. A DCGAN of 28×28×1, width 16, takes 1.1 to 1.3 times as many steps a second with
them on AVX2 (batch 32 and 64, one thread and two). Other devices use torch's own kernels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class FromLatent(nn.ConvTranspose2d):
    """[batch, features, 1, 1] → [batch, channels, side, side]; one matrix product.

    Args:
        features: Length of a latent, with what is joined to it.
        channels: Of the feature map.
        side: Of the feature map, pixels; the kernel covers it.
        bias: Whether to add one.
    """

    def __init__(self, features: int, channels: int, side: int, *, bias: bool) -> None:
        super().__init__(features, channels, side, bias=bias)

    def forward(self, latents: Tensor, output_size: list[int] | None = None) -> Tensor:
        """The feature map, its channels last in memory where the weight's are."""
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
    """[batch, channels, side, side] → [batch, 1, 1, 1]; one product of a matrix with a vector.

    Args:
        channels: Of the feature map.
        side: Of the feature map, pixels; the kernel covers it.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__(channels, 1, side)

    def forward(self, features: Tensor) -> Tensor:
        """The scores."""
        if features.device.type != "cpu":
            return super().forward(features)
        # In the order in which channels-last pictures lie, so that nothing is copied.
        flat, weight = (t.permute(0, 2, 3, 1).flatten(1) for t in (features, self.weight))
        return functional.linear(flat, weight, self.bias)[:, :, None, None]


class FromPicture(nn.Conv2d):
    """Pictures [batch, channels, 2h, 2w] → feature maps [batch, width, h, w]; kernel 4, stride 2, padding 1.

    Args:
        channels: Of the pictures.
        width: Channels of the feature maps.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width, 4, 2, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """The feature maps."""
        if pictures.device.type != "cpu" or self.in_channels > 1:
            return super().forward(pictures)
        # With each 2×2 block of pixels as channels it is a 2×2 convolution without stride: four
        # neighbouring blocks make a row, and the rows times the weights make the maps.
        blocks = functional.pixel_unshuffle(functional.pad(pictures, (1, 1, 1, 1)), 2).permute(0, 2, 3, 1)
        weight = self.weight.view(-1, 2, 2, 2, 2).permute(0, 1, 3, 2, 4)
        height, width = blocks.shape[1] - 1, blocks.shape[2] - 1
        corners = [blocks[:, y : y + height, x : x + width] for y in (0, 1) for x in (0, 1)]
        return functional.linear(torch.cat(corners, dim=3), weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class ToPicture(nn.ConvTranspose2d):
    """Feature maps [batch, width, h, w] → pictures [batch, channels, 2h, 2w]; kernel 4, stride 2, padding 1.

    Args:
        width: Channels of the feature maps.
        channels: Of the pictures.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__(width, channels, 4, 2, 1)

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """The pictures, before the last activation."""
        if features.device.type != "cpu" or self.out_channels > 1 or self.bias is None:
            return super().forward(features, output_size)
        # What each pixel adds to the 4×4 pixels around its place, and the sums of it.
        patches = self.weight.flatten(1).T @ features.flatten(2)
        size = (2 * features.shape[2], 2 * features.shape[3])
        return functional.fold(patches, size, 4, padding=1, stride=2) + self.bias[:, None, None]
