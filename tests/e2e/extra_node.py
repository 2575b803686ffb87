"""Runs a second node of the embedded cluster: ``python extra_node.py GCS_PORT``; ends on SIGTERM.

``ray start`` refuses to join a cluster with the setting that keeps Ray on loopback.
"""

from __future__ import annotations

import signal
import sys

import ray
from ray._private.node import Node
from ray._private.parameter import RayParams


def main(port: str) -> None:
    """Join with one CPU, print the node's id once new runs can use it, and wait for SIGTERM."""
    address = f"127.0.0.1:{port}"
    parameters = RayParams(node_ip_address="127.0.0.1", gcs_address=address, num_cpus=1, num_gpus=0)
    node = Node(parameters, head=False, shutdown_at_exit=True, spawn_reaper=True)
    _announce(address)
    sys.stdout.write(f"{node.node_id}\n")
    sys.stdout.flush()
    signal.sigwait([signal.SIGTERM])


def _announce(address: str) -> None:
    """Make the actor that counts Ray Train's nodes count again; by itself it counts every 20 s.

    The actor outlives the job that started it. Before the first job there is none, and the one that
    the first job starts will count this node.
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
