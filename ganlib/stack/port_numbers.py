"""Ports of the embedded services.

For people and for S3 clients: S3 gateway 9000, MLflow 5000, Prefect 4200, Ray's dashboard 8265.
Everything else that Ray opens gets a free port of its own, so that two Rays on a machine never
meet. A port chosen before is taken again when it is free; a usual one that is taken gives way to
a free one between 20000 and 31999, below the range that the system hands out to outgoing
connections. ``GANLIB_PORTS=free`` leaves the usual ones alone from the start.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Collection, Iterator, Mapping
from typing import Literal

from ganlib.errors import ConfigError

USUAL = {"s3": 9000, "mlflow": 5000, "prefect": 4200, "ray": 8265}
"""Well-known ports, by service; ``ray`` is its dashboard and jobs server."""

RAY_PORTS = (
    "ray_gcs",
    "ray_node_manager",
    "ray_object_manager",
    "ray_client_server",
    "ray_dashboard_agent_http",
    "ray_dashboard_agent_grpc",
    "ray_runtime_env_agent",
    "ray_metrics_export",
    "ray_dashboard_metrics",
    "ray_autoscaler_metrics",
)
"""Ray's other ports; its workers let the system choose theirs."""

OF_SERVICE: dict[str, tuple[str, ...]] = {
    "s3": ("s3",),
    "mlflow": ("mlflow",),
    "prefect": ("prefect",),
    "ray": ("ray", *RAY_PORTS),
    "worker": (),
}

_FREE = range(20000, 32000)


def is_free(port: int) -> bool:
    """Whether a server could listen on that port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # A port in TIME_WAIT can be used; a port with a listener cannot.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose(
    names: Collection[str],
    *,
    mode: Literal["usual", "free"],
    before: Mapping[str, int],
    kept: Mapping[str, int],
) -> dict[str, int]:
    """Choose a port for each name.

    Args:
        names: Names of :data:`USUAL` and :data:`RAY_PORTS`.
        mode: ``"free"`` never takes a usual port.
        before: What was chosen the last time; preferred.
        kept: Ports of services that run; they stay as they are.

    Raises:
        ConfigError: No free port was found.
    """
    chosen = dict(kept)
    for name in names:
        if name in chosen:
            continue
        taken = set(chosen.values())
        chosen[name] = next(
            (port for port in _candidates(name, mode, before) if port not in taken and is_free(port)), 0
        )
        if not chosen[name]:
            raise ConfigError(
                f"no free port was found for {name} between {_FREE.start} and {_FREE.stop - 1}; "
                "end some of the servers that listen on 127.0.0.1"
            )
    return chosen


def _candidates(name: str, mode: Literal["usual", "free"], before: Mapping[str, int]) -> Iterator[int]:
    usual = USUAL.get(name)
    if name in before and not (mode == "free" and before[name] == usual):
        yield before[name]
    if mode == "usual" and usual is not None:
        yield usual
    # Random, so that two stacks that start at the same moment choose different ports.
    yield from random.sample(_FREE, 200)
