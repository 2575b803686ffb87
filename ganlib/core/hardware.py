"""Number format, memory layout and compilation of the networks' passes.

``auto`` takes the choice that was measured fastest on this kind of device;
:meth:`Acceleration.describe` names it. Weights and optimizer states are float32 in any case.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple

import torch
from torch import nn

PrecisionChoice = Literal["auto", "fp32", "tf32", "bf16"]
Precision = Literal["fp32", "tf32", "bf16"]
LayoutChoice = Literal["auto", "contiguous", "channels_last"]
MemoryLayout = Literal["contiguous", "channels_last"]
Compilation = Literal["off", "default", "reduce-overhead"]
CompilationChoice = Literal["auto", "off", "default", "reduce-overhead"]


class Acceleration(NamedTuple):
    """How a run computes its passes; results differ only by rounding."""

    precision: Precision = "fp32"
    layout: MemoryLayout = "contiguous"
    """Order in memory of the pictures' and feature maps' dimensions."""
    compilation: Compilation = "off"
    """Mode of ``torch.compile``; ``reduce-overhead`` records CUDA graphs."""

    def describe(self) -> str:
        """Return a line for logs, such as ``bf16, channels_last, not compiled``."""
        compiled = "not compiled" if self.compilation == "off" else f"compiled ({self.compilation})"
        return f"{self.precision}, {self.layout}, {compiled}"

    def prepare(self, network: nn.Module) -> None:
        """Set the memory layout of a network's weights and compile it, in place."""
        if self.layout == "channels_last":
            network.to(memory_format=torch.channels_last)
            for parameter in network.parameters():
                if parameter.is_contiguous():
                    # Same memory order, but its strides must match the gradient's: otherwise
                    # DistributedDataParallel copies every gradient and warns.
                    parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
        if self.compilation != "off":
            network.compile(mode=self.compilation)

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Return the context in which to call networks on this device."""
        if self.precision == "bf16":
            return torch.autocast(device.type, dtype=torch.bfloat16)
        return nullcontext()


def accelerate(
    device: torch.device,
    precision: PrecisionChoice = "auto",
    layout: LayoutChoice = "auto",
    compilation: CompilationChoice = "auto",
) -> Acceleration:
    """Resolve ``auto`` for a device.

    The layout is ``channels_last``, the native one of tensor cores and faster by 6 to 18 % in every
    pair of runs on a CPU without bf16 (64×64, width 64). Compilation is off, because it takes half a
    minute before the first step.

    Raises:
        ValueError: ``tf32`` on a device without CUDA.
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

    bfloat16 works on every device, but emulated it is about ten times slower than float32. So this
    checks for the instructions.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def allow_tf32(allowed: bool) -> None:
    """Allow or forbid CUDA to round the factors of float32 products to TF32, in the whole process."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
