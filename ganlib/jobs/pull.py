"""The pull job: every node of the cluster brings the shards of a dataset version into its cache.

``python -m ganlib.jobs.pull RUN`` on the cluster. A node that has them already only verifies that. Of a
version that is streamed, a node brings the held-out shards and those of the run's first windows.
"""

from __future__ import annotations

import platform

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ganlib.cluster.program import connect, emit, run_main
from ganlib.data.streaming import StreamedDataset
from ganlib.data.windows import shards_of, size_of
from ganlib.settings import load_settings
from ganlib.storage import open_store
from ganlib.training.dataset import has_begun, open_dataset
from ganlib.training.spec import RunSpec, read_spec


def main(run: str) -> None:
    """Pull on every living node, all at once."""
    connect()
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    task = ray.remote(num_cpus=0)(pull_on_node)
    pulls = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(run)
        for node in nodes
    ]
    for line in ray.get(pulls):
        emit(line)


def pull_on_node(run: str) -> str:
    """Pull on the node that runs this; returns a line that says what is there now."""
    return f"node {platform.node()} has {pull_here(run)}"


def pull_here(run: str) -> str:
    """Pull on this machine; returns, as part of a sentence, what is there now."""
    settings = load_settings()
    store = open_store(settings)
    spec = read_spec(store, run)
    dataset = open_dataset(settings, store, spec)
    if isinstance(dataset, StreamedDataset):
        return _first_windows(dataset, spec, begun=has_begun(store, run))
    shards = dataset.version.shards
    many = "only shard" if len(shards) == 1 else f"{len(shards)} shards"
    return f"the {many} of dataset {spec.dataset_name} ({size_of(shards) / 1e6:.1f} MB)"


def _first_windows(dataset: StreamedDataset, spec: RunSpec, *, begun: bool) -> str:
    """Bring the windows at which a new run begins; one that goes on brings those of its checkpoint."""
    config, version = spec.config, dataset.version
    held_out = f"the {len(shards_of(version, 'held_out'))} held-out shards"
    if begun:
        return f"{held_out} of dataset {spec.dataset_name}"
    with dataset.training(spec.run, seed=config.seed, batch_size=config.batch_size) as pictures:
        windows = pictures.order.windows_for(0, config.batch_size)
        pictures.move_on(windows)
        pictures.fetch_all()
    first = len({number for window in windows for number in window.shards})
    return f"{held_out} and the first {first} training shards of dataset {spec.dataset_name}"


if __name__ == "__main__":
    run_main(main)
