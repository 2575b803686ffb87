"""A trained generator as it is handed out: one function of one tensor, with nothing left to train."""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def for_inference(generator: nn.Module) -> nn.Module:
    """A copy on the CPU, float32, in eval mode and without gradients, that makes the same pictures faster.

    Batch norm in eval mode is a scale and a shift of each channel: it goes into the weights of the
    convolution before it, in float64, so pictures differ by float32's rounding only.

    Args:
        generator: Any network; what is not a convolution followed by batch norm in an
            ``nn.Sequential`` stays as it is.
    """
    ready = copy.deepcopy(generator).cpu().float().eval().requires_grad_(False)
    _fold_batch_norm(ready)
    return ready


def _fold_batch_norm(network: nn.Module) -> None:
    # A layer that is used in two places has to stay as it is in both.
    uses = Counter(module for _, module in network.named_modules(remove_duplicate=False))
    for sequence in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for index in range(1, len(sequence)):
            layer, norm = sequence[index - 1], sequence[index]
            if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) or not isinstance(norm, nn.BatchNorm2d):
                continue
            if norm.running_mean is None or uses[layer] > 1 or uses[norm] > 1:
                continue
            transposed = isinstance(layer, nn.ConvTranspose2d)
            folded = fuse_conv_bn_eval(layer.double(), norm.double(), transpose=transposed)
            sequence[index - 1] = folded.float().requires_grad_(False)
            sequence[index] = nn.Identity()


def joined(latents: Tensor, labels: Tensor | None = None) -> Tensor:
    """Latents float32 [batch, latent_dim], and labels int64 [batch] if there are any, as one tensor.

    Returns:
        The latents, or with labels float32 [batch, latent_dim + 1], the label as the last number:
        MLflow's PyTorch flavour hands a program one tensor and no more.
    """
    return latents if labels is None else torch.cat([latents, labels[:, None].to(latents.dtype)], dim=1)


class JoinedInputs(nn.Module):
    """A conditional generator that takes its inputs as :func:`joined` makes them.

    Args:
        generator: Takes latents float32 [batch, latent_dim] and labels int64 [batch].
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, inputs: Tensor) -> Tensor:
        """Float32 [batch, latent_dim + 1] → pictures float32 [batch, channels, height, width]."""
        pictures: Tensor = self.generator(inputs[:, :-1], inputs[:, -1].to(torch.int64))
        return pictures


def one_input(generator: nn.Module, example: tuple[Tensor, ...]) -> tuple[nn.Module, Tensor]:
    """The generator as a function of one tensor, and that tensor for an example of what it took before."""
    return (generator if len(example) == 1 else JoinedInputs(generator)), joined(*example)
