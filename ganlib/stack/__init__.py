"""The embedded services of one machine: S3 gateway, MLflow, Prefect server and worker, Ray head.

All listen on loopback alone; ports are in :mod:`ganlib.stack.port_numbers`, files in
:mod:`ganlib.stack.home`. A service that the environment points elsewhere is left alone.
"""

from ganlib.stack.control import down, status, up
from ganlib.stack.schedule import run_deployments, schedule
from ganlib.stack.state import ServiceState, ServiceStatus, StackStatus

__all__ = [
    "ServiceState",
    "ServiceStatus",
    "StackStatus",
    "down",
    "run_deployments",
    "schedule",
    "status",
    "up",
]
