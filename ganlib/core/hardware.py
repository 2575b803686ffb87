"""What the passes run on and how: number format, memory layout, kernels, compilation.

``auto`` means what measured fastest on this kind of device, and :meth:`Acceleration.describe` says
what that was. Weights and optimizers stay float32 whatever is chosen.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple

import torch
from torch import nn

PrecisionChoice = Literal["auto", "fp32", "tf32", "bf16"]
Precision = Literal["fp32", "tf32", "bf16"]
LayoutChoice = Literal["auto", "contiguous", "channels_last"]
Layout = Literal["contiguous", "channels_last"]
Compilation = Literal["off", "default", "reduce-overhead"]
CompilationChoice = Literal["auto", "off", "default", "reduce-overhead"]


class Acceleration(NamedTuple):
    """How the passes of a run are computed; no result but its rounding depends on it."""

    precision: Precision = "fp32"
    layout: Layout = "contiguous"
    """Order of a picture's numbers in memory."""
    compilation: Compilation = "off"
    """torch.compile's mode; ``reduce-overhead`` records CUDA graphs."""

    def describe(self) -> str:
        """For a person: ``bf16, channels_last, not compiled``."""
        compiled = "not compiled" if self.compilation == "off" else f"compiled ({self.compilation})"
        return f"{self.precision}, {self.layout}, {compiled}"

    def prepare(self, network: nn.Module) -> None:
        """Lay out a network's weights and have it compiled, in place."""
        if self.layout == "channels_last":
            network.to(memory_format=torch.channels_last)
            for parameter in network.parameters():
                if parameter.is_contiguous():
                    # It lies the same either way; only in this spelling its strides are those of its
                    # gradient, which DistributedDataParallel would else copy, and warn of.
                    parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
        if self.compilation != "off":
            network.compile(mode=self.compilation)

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """The context in which networks are called."""
        if self.precision == "bf16":
            return torch.autocast(device.type, dtype=torch.bfloat16)
        return nullcontext()


def accelerate(
    device: torch.device,
    precision: PrecisionChoice = "auto",
    layout: LayoutChoice = "auto",
    compilation: CompilationChoice = "auto",
) -> Acceleration:
    """The choices, with ``auto`` resolved for a device.

    Pictures lie with their channels last, which was faster in every pair of runs on a CPU without
    bf16 (by 6 to 18 % at 64×64, width 64) and is what tensor cores read. Compilation is off: it needs
    half a minute before the first step.

    Raises:
        ValueError: ``tf32`` on a CPU, which has none.
    """
    if precision == "tf32" and device.type != "cuda":
        raise ValueError("tf32 is a format of CUDA devices; choose fp32 or bf16")
    if precision == "auto":
        precision = "bf16" if bf16_is_native(device) else "fp32"
    return Acceleration(
        precision=precision,
        layout="channels_last" if layout == "auto" else layout,
        compilation="off" if compilation == "auto" else compilation,
    )


def bf16_is_native(device: torch.device) -> bool:
    """Whether this device multiplies bfloat16 matrices in hardware.

    Emulated bfloat16 is slower than float32 by an order of magnitude, so this asks for the
    instruction, not for whether the operation works.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def allow_tf32(allowed: bool) -> None:
    """Whether CUDA may round the factors of float32 products to TF32, in this whole process."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
