"""A second node of the embedded cluster, on loopback: ``python extra_node.py GCS_PORT``; ends on SIGTERM.

``ray start`` cannot do it: with the setting that keeps Ray on loopback, it refuses to join a cluster.
"""

from __future__ import annotations

import signal
import sys

from ray._private.node import Node
from ray._private.parameter import RayParams


def main(port: str) -> None:
    """Join with one CPU, say so, and wait for the end."""
    parameters = RayParams(
        node_ip_address="127.0.0.1", gcs_address=f"127.0.0.1:{port}", num_cpus=1, num_gpus=0
    )
    node = Node(parameters, head=False, shutdown_at_exit=True, spawn_reaper=True)
    sys.stdout.write(f"{node.node_id}\n")
    sys.stdout.flush()
    signal.sigwait([signal.SIGTERM])


if __name__ == "__main__":
    main(sys.argv[1])
