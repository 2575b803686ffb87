"""The five embedded services."""

from __future__ import annotations

from ganlib.settings import Settings
from ganlib.stack.ray_head import RayHead
from ganlib.stack.s3_gateway import S3Gateway
from ganlib.stack.service import Service
from ganlib.stack.web_servers import MlflowService, PrefectServer, PrefectWorker

SERVICES: tuple[Service, ...] = (S3Gateway(), PrefectServer(), RayHead(), MlflowService(), PrefectWorker())
"""In the order in which they start; those without ``requires`` start together."""


def embedded(settings: Settings) -> tuple[Service, ...]:
    """The services that `ganlib up` starts here; the worker goes with the Prefect server."""
    own: set[str] = set(settings.own)
    return tuple(s for s in SERVICES if s.name not in own and not (s.name == "worker" and "prefect" in own))
