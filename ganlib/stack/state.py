"""Records of the services that `ganlib up` started, and of their state for `ganlib status`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ganlib.errors import ConfigError, DataError
from ganlib.records import Record
from ganlib.settings import page_of
from ganlib.stack.home import Layout, write_atomically

ServiceState = Literal["up", "down", "starting or not answering", "own"]
"""``own``: the environment points to a service that is not ours to start."""


class StartedService(Record):
    """A service's process."""

    pid: int
    """Leader of its process group and session."""
    created: float
    """When the process began, seconds since 1970; tells it from a later process with the same pid."""
    url: str
    since: str
    """When it was started, ISO 8601 with offset."""
    bound_to: dict[str, str]
    """Addresses it was started with; when one moves, it has to start again."""
    settings: str
    """Digest of the settings it was started with."""


class StackRecord(Record):
    """The content of ``stack.json``."""

    services: dict[str, StartedService] = Field(default_factory=dict)
    ports: dict[str, int] = Field(default_factory=dict)
    """Ports of the last start, which the next start prefers."""
    ray_folder: str = ""
    """The short path that Ray was given."""
    registered: str = ""
    """Digest of the deployments that were registered last."""

    @classmethod
    def load(cls, layout: Layout) -> StackRecord:
        """Read it; a home without one has started nothing.

        Raises:
            ConfigError: The file is damaged.
        """
        try:
            return cls.from_json(layout.state.read_text(), source=str(layout.state))
        except FileNotFoundError:
            return cls()
        except DataError as error:
            raise ConfigError(f"{error}. Remove it; `ganlib down` finds the processes without it") from error

    def save(self, layout: Layout) -> None:
        """Write the record."""
        write_atomically(layout.state, self.model_dump())


LEAST_FREE_BYTES = 10**9
"""Free space on the home's disk that the services need to start; `ganlib status` warns below it."""


class ServiceStatus(Record):
    """One service, as seen now."""

    name: str
    """``s3``, ``mlflow``, ``prefect``, ``ray`` or ``worker``."""
    state: ServiceState
    url: str = ""
    """Address for clients; empty when it is down."""
    pid: int | None = None
    log: str = ""
    since: str = ""
    """When it was started, ISO 8601 with offset."""

    @property
    def page(self) -> str:
        """Address for a browser: Prefect's page lies beside its API."""
        return page_of(self.name, self.url)


class StackStatus(Record):
    """All services, as seen now."""

    home: str
    services: tuple[ServiceStatus, ...]
    free_bytes: int | None = None
    """Free space on the home's disk; ``None``: there is no home yet."""

    def __getitem__(self, name: str) -> ServiceStatus:
        return next(service for service in self.services if service.name == name)

    @property
    def ready(self) -> bool:
        """Whether every service that is ours answers."""
        return all(service.state in ("up", "own") for service in self.services)

    def __str__(self) -> str:
        """A line for each service, for a person."""
        lines = []
        for service in self.services:
            detail = (
                f"pid {service.pid}, since {service.since[:19]}Z, log {service.log}" if service.pid else ""
            )
            lines.append(f"{service.name:<8}{service.state:<6}{service.page:<55}{detail}".rstrip())
        if self.free_bytes is not None and self.free_bytes < LEAST_FREE_BYTES:
            lines.append(f"the disk of {self.home} is nearly full: {self.free_bytes / 1e6:,.0f} MB are free")
        return "\n".join(lines)
