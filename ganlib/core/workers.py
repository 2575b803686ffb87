"""Collective operations of a run's workers; without ``torch.distributed`` they are the identity."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from ganlib.core.steps import WorkerPlace


def mean_over_workers(values: Tensor) -> Tensor:
    """Return the mean of a tensor over all workers, the same bits on each of them.

    A value that is not finite on one worker makes the mean not finite on all of them, so that all
    workers stop together.
    """
    if not dist.is_initialized():
        return values
    return sum_over_workers(values) / dist.get_world_size()


def sum_over_workers(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all workers, the same bits on each of them."""
    if not dist.is_initialized():
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values


def share_of(count: int, place: WorkerPlace) -> slice:
    """Return this worker's contiguous part of ``count`` rows; lengths differ by at most one row."""
    return slice(count * place.rank // place.workers, count * (place.rank + 1) // place.workers)


def gather_rows(rows: Tensor, count: int, place: WorkerPlace) -> Tensor:
    """Join all workers' rows, shared by :func:`share_of`, to [count, …] on every worker."""
    if not dist.is_initialized():
        return rows
    # all_gather needs equal shapes: pad each part to the longest one, and cut the padding afterwards.
    longest = -(-count // place.workers)
    padded = rows.new_zeros((longest, *rows.shape[1:]))
    padded[: rows.shape[0]] = rows
    parts = [torch.empty_like(padded) for _ in range(place.workers)]
    dist.all_gather(parts, padded)
    lengths = [share_of(count, place._replace(rank=rank)) for rank in range(place.workers)]
    return torch.cat(
        [part[: length.stop - length.start] for part, length in zip(parts, lengths, strict=True)]
    )


def gather_bytes(data: bytes, place: WorkerPlace) -> list[bytes]:
    """Return what each worker handed in, in the order of their ranks, on every worker."""
    if not dist.is_initialized():
        return [data]
    lengths = [torch.zeros(1, dtype=torch.int64, device=place.device) for _ in range(place.workers)]
    dist.all_gather(lengths, torch.tensor([len(data)], device=place.device))
    # all_gather needs equal shapes, and no empty ones.
    padded = torch.zeros(max(1, *map(int, lengths)), dtype=torch.uint8)
    padded[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else padded[:0]
    padded = padded.to(place.device)
    parts = [torch.empty_like(padded) for _ in range(place.workers)]
    dist.all_gather(parts, padded)
    return [part[: int(length)].cpu().numpy().tobytes() for part, length in zip(parts, lengths, strict=True)]


def barrier() -> None:
    """Wait for all workers."""
    if dist.is_initialized():
        dist.barrier()
