"""A second node of the embedded cluster, on loopback: ``python extra_node.py GCS_PORT``; ends on SIGTERM.

``ray start`` cannot do it: with the setting that keeps Ray on loopback, it refuses to join a cluster.
"""

from __future__ import annotations

import signal
import sys

import ray
from ray._private.node import Node
from ray._private.parameter import RayParams


def main(port: str) -> None:
    """Join with one CPU, say so once a run that starts now would see it, and wait for the end."""
    address = f"127.0.0.1:{port}"
    parameters = RayParams(node_ip_address="127.0.0.1", gcs_address=address, num_cpus=1, num_gpus=0)
    node = Node(parameters, head=False, shutdown_at_exit=True, spawn_reaper=True)
    _announce(address)
    sys.stdout.write(f"{node.node_id}\n")
    sys.stdout.flush()
    signal.sigwait([signal.SIGTERM])


def _announce(address: str) -> None:
    """Let the actor that counts Ray Train's nodes look again: it does by itself only every 20 s.

    It outlives the job that made it; where none has run yet, the first will count this node too.
    """
    ray.init(address, log_to_driver=False)
    try:
        coordinator = ray.get_actor("AutoscalingCoordinator", namespace="AutoscalingCoordinator")
    except ValueError:
        pass
    else:
        ray.get(coordinator.get_reserved_resources.remote("", recompute=True), timeout=60)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
