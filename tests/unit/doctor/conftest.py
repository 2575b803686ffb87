"""Fixtures of the tests of `ganlib doctor`: four small servers, and a look at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from doctor_services import World, serving, settings_of

from ganlib.doctor.examination import examine_services
from ganlib.doctor.finding import Finding

Look = Callable[..., dict[tuple[str, str], Finding]]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def addresses(world: World) -> Iterator[dict[str, str]]:
    with serving(world) as found:
        yield found


@pytest.fixture
def look(addresses: dict[str, str], tmp_path: Path) -> Look:
    """Examine the servers; returns the findings by service and check, of several the worst."""

    def findings(settings: dict[str, str] | None = None, **options: object) -> dict[tuple[str, str], Finding]:
        found = examine_services(settings_of(tmp_path, addresses, **(settings or {})), **options)
        severity = ["skipped", "ok", "warning", "broken"]
        ordered = sorted(found, key=lambda finding: severity.index(finding.state))
        return {(finding.service, finding.check): finding for finding in ordered}

    return findings
