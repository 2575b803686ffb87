"""Ray's head: a cluster of this machine alone, which no other machine can reach."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import final

from ganlib.logins import library_variables
from ganlib.stack.environment import Context
from ganlib.stack.home import link_ray_logs, prune_ray_sessions
from ganlib.stack.probes import NotAnswering
from ganlib.stack.service import Service, module
from ganlib.stack.state import StartedService

RAY_OBJECT_STORE_BYTES = 512 * 2**20
"""Training data travels through object storage and node caches; Ray's own store carries little."""


@final
class RayHead(Service):
    """A Ray cluster of this machine alone, with dashboard and jobs server."""

    name = "ray"
    # Ray gives its node 30 seconds to register, a limit without a switch that a busy machine exceeds.
    attempts = 3

    def before_start(self, context: Context) -> None:
        """Remove old sessions."""
        prune_ray_sessions(context.layout)

    def command(self, context: Context) -> Sequence[str]:
        """Return the command, which names every port except those of workers."""
        options = {
            "node-ip-address": "127.0.0.1",
            "dashboard-host": "127.0.0.1",
            "dashboard-port": context.ports["ray"],
            "port": context.ports["ray_gcs"],
            "node-manager-port": context.ports["ray_node_manager"],
            "object-manager-port": context.ports["ray_object_manager"],
            "ray-client-server-port": context.ports["ray_client_server"],
            "dashboard-agent-listen-port": context.ports["ray_dashboard_agent_http"],
            "dashboard-agent-grpc-port": context.ports["ray_dashboard_agent_grpc"],
            "runtime-env-agent-port": context.ports["ray_runtime_env_agent"],
            "metrics-export-port": context.ports["ray_metrics_export"],
            "object-store-memory": RAY_OBJECT_STORE_BYTES,
            # So that two workers and their driver also fit on one core.
            "num-cpus": max(2, len(os.sched_getaffinity(0))),
            "temp-dir": context.ray_folder,
            "include-dashboard": "true",
            "log-color": "false",
        }
        flags = ["start", "--head", "--block", "--disable-usage-stats"]
        return module(
            "ganlib.cluster.node",
            str(context.ray_folder),  # the short path, for the socket in it
            *flags,
            *(f"--{name}={value}" for name, value in options.items()),
        )

    def extra_environment(self, context: Context) -> dict[str, str]:
        """Bind to loopback what no flag can bind."""
        return {
            # Ray takes 127.0.0.1 for "this machine's address" and opens every port to the network,
            # unless it believes that it is where clusters of several machines cannot be. This is its switch.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "DASHBOARD_METRIC_PORT": str(context.ports["ray_dashboard_metrics"]),
            "AUTOSCALER_METRIC_PORT": str(context.ports["ray_autoscaler_metrics"]),
            # Without a token every user of this machine could have it run a program as its owner.
            **library_variables(context.settings, "ray"),
            "RAY_gcs_server_port_wait_time_s": "120",
            # Data-parallel workers exchange gradients over loopback.
            "GLOO_SOCKET_IFNAME": "lo",
            "NCCL_SOCKET_IFNAME": "lo",
        }

    def probe(self, context: Context, started: StartedService) -> None:
        """Check its version, its list of jobs, and that a node is alive."""
        context.ask("ray", "/api/version", at=started.url)
        if not isinstance(context.ask("ray", "/api/jobs/", at=started.url), list):
            raise NotAnswering("its jobs server lists no jobs")
        listed = context.ask("ray", "/nodes?view=summary", at=started.url)
        nodes = listed.get("data", {}).get("summary", [])
        alive = sum(node.get("raylet", {}).get("state") == "ALIVE" for node in nodes)
        if not alive:
            raise NotAnswering("no node is alive")

    def after_start(self, context: Context) -> None:
        """Show the session's logs under the home's."""
        link_ray_logs(context.layout)
