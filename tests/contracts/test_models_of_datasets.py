"""Which registered models were trained on a dataset, asked of every registry."""

from __future__ import annotations

import torch
from torch import nn

from ganlib.ports import Publication
from ganlib.registry.dataset_use import trained_on, use_in_words


class Plain(nn.Module):
    """Latents [batch, 4] to pictures [batch, 1, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.ConvTranspose2d(4, 1, 8)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.net(latents[:, :, None, None]))


def test_models_are_found_by_the_dataset_of_their_tags(registered, name: str) -> None:
    registry, run, network = registered.registry, registered.tracking_run_id, Plain().eval()
    tags = {"ganlib.dataset": name, "ganlib.dataset_digest": "1" * 64}
    made = registry.publish(Publication(name, "run-a", run, network, 4, tags))
    others = {**tags, "ganlib.dataset": f"{name}-too"}
    registry.publish(Publication(f"{name}-other", "run-b", run, network, 4, others))
    registry.move(name, "champion", made.version, expected=None, who="tests", why="to see it")
    assert use_in_words(trained_on(registry, name, {"1" * 64})) == [f"{name}/1 (champion)"]
    assert trained_on(registry, f"{name}-not") == []
