from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from sklearn.datasets import load_digits

from ganlib.quality.efficientnet import EfficientNetLite0


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def lite0() -> EfficientNetLite0:
    return EfficientNetLite0()


@pytest.fixture(scope="session")
def digits() -> torch.Tensor:
    """Real handwritten digits, uint8 [1797, 1, 8, 8]."""
    return torch.from_numpy(load_digits().images / 16 * 255).round().to(torch.uint8)[:, None]
