from __future__ import annotations

import pytest
import torch
from test_loop import make_plan, make_state, pictures

from ganlib.core.loop import Batch, train
from ganlib.core.steps import WorkerPlace

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def test_the_curve_on_a_gpu_is_that_on_the_cpu_up_to_rounding() -> None:
    device = torch.device("cuda")
    cpu, gpu = make_state(), make_state()
    for network in (gpu.generator, gpu.critic, gpu.average):
        network.to(device)

    def batches(step: int) -> Batch:
        batch = pictures(step)
        return Batch(batch.images.to(device), batch.labels.to(device))

    here = [float(p.wasserstein) for p in train(cpu, pictures, make_plan(5))]
    there = [float(p.wasserstein) for p in train(gpu, batches, make_plan(5), WorkerPlace(device=device))]
    torch.testing.assert_close(there, here, rtol=0.02, atol=1e-3)
