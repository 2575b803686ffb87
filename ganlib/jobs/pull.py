"""The pull job: every node of the cluster brings the shards of a dataset version into its cache.

``python -m ganlib.jobs.pull RUN`` on the cluster. A node that has them already only verifies that.
"""

from __future__ import annotations

import platform

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ganlib.cluster.program import connect, emit, run_main
from ganlib.data.cache import pull
from ganlib.data.versions import load_version
from ganlib.settings import load_settings
from ganlib.storage import open_store
from ganlib.training.spec import read_spec


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
    dataset = pull(
        store,
        load_version(store, spec.dataset_name, spec.dataset_digest),
        settings.cache,
        limit=settings.cache_bytes,
    )
    shards = dataset.version.shards
    megabytes = sum(shard.bytes for shard in shards) / 1e6
    many = "only shard" if len(shards) == 1 else f"{len(shards)} shards"
    return f"the {many} of dataset {spec.dataset_name} ({megabytes:.1f} MB)"


if __name__ == "__main__":
    run_main(main)
