"""An embedded service: a command, an environment, and a request that it must answer."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from ganlib.stack import environment as env
from ganlib.stack.environment import Context
from ganlib.stack.processes import MARK, mark
from ganlib.stack.state import StartedService


class Service(ABC):
    """One server: a command, a folder, an environment, and a request that it must answer."""

    name: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()
    """Services that must answer before this one starts; their addresses are part of its command."""
    attempts: ClassVar[int] = 1
    """Number of starts before it counts as failed."""

    def environment(self, context: Context) -> dict[str, str]:
        """The whole environment of its process."""
        return {
            **env.common(context),
            **self.extra_environment(context),
            MARK: mark(self.name, context.settings.home),
        }

    def folder(self, context: Context) -> Path:
        """Its working directory."""
        return context.layout.folder(self.name)

    @abstractmethod
    def command(self, context: Context) -> Sequence[str]:
        """The command line, without secrets."""

    @abstractmethod
    def extra_environment(self, context: Context) -> dict[str, str]:
        """Return the variables that it needs beside the common environment."""

    @abstractmethod
    def probe(self, context: Context, started: StartedService) -> None:
        """Send a request that shows whether it works. Raises :class:`~ganlib.stack.probes.NotAnswering`."""

    def before_start(self, context: Context) -> None:
        """Prepare what must exist before it starts."""
        return

    def before_probe(self, context: Context) -> None:
        """Set it up once, before it can answer. Raises ``NotAnswering`` until that is possible."""
        return

    def after_start(self, context: Context) -> None:
        """Complete it once it answers."""
        return


def module(name: str, *arguments: str) -> list[str]:
    """The command line that runs a Python module with this interpreter."""
    # -P keeps the working directory, which has folders of these very names, off the import path.
    return [sys.executable, "-P", "-m", name, *arguments]
