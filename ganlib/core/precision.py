"""Number formats for the forward and backward passes; weights and optimizers stay float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]


def bf16_is_native(device: torch.device) -> bool:
    """Whether this device multiplies bfloat16 matrices in hardware.

    Emulated bfloat16 is slower than float32 by an order of magnitude, so this asks for the
    instruction, not for whether the operation works.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def resolve_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """What ``auto`` means on this device: ``bf16`` where it is native, else ``fp32``."""
    if precision == "auto":
        return "bf16" if bf16_is_native(device) else "fp32"
    return precision


def autocast(precision: Literal["fp32", "bf16"], device: torch.device) -> AbstractContextManager[object]:
    """The context in which networks are called."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
