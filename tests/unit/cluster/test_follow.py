"""Following a job whose server breaks off: the one thing that a real cluster does not do on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

import pytest
from ray.job_submission import JobStatus

from ganlib.cluster import follow as module
from ganlib.errors import ServiceError

LOG = ["first", "second", "third", "no newline"]


class Client:
    """Ray's job client as :mod:`ganlib.cluster.follow` uses it; its streams end as they are told to."""

    def __init__(
        self, streams: list[tuple[int, Exception | Literal["stays open"] | None]], running: int
    ) -> None:
        self.streams, self.running = streams, running
        self.log_errors: list[Exception] = []

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        characters, error = self.streams.pop(0) if len(self.streams) > 1 else self.streams[0]
        text = "\n".join(LOG)[:characters]
        for start in range(0, len(text), 5):
            yield text[start : start + 5]
        if error == "stays open":
            await asyncio.Event().wait()
        elif error is not None:
            raise error

    def get_job_logs(self, job_id: str) -> str:
        if self.log_errors:
            raise self.log_errors.pop()
        return "\n".join(LOG)

    def get_job_status(self, job_id: str) -> JobStatus:
        if isinstance(self.streams[0][1], ConnectionError):
            raise self.streams[0][1]
        self.running -= 1
        return JobStatus.RUNNING if self.running >= 0 else JobStatus.SUCCEEDED

    def get_address(self) -> str:
        return "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STATUS_SECONDS", 0.05)
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)


def follow(client: Client) -> list[str]:
    lines: list[str] = []
    status = asyncio.run(module.follow(client, "job", lines.append))  # type: ignore[arg-type]
    assert status == JobStatus.SUCCEEDED
    return lines


@pytest.mark.parametrize("error", [RuntimeError("closed unexpectedly"), ConnectionError("refused"), None])
def test_a_stream_that_breaks_off_is_taken_up_without_repeating_a_line(error: Exception | None) -> None:
    assert follow(Client([(6, error), (14, error), (1000, None)], running=2)) == LOG


def test_the_rest_of_the_log_is_asked_for_when_the_job_has_ended() -> None:
    """Ray closes a job's stream some seconds after the job's end."""
    assert follow(Client([(8, "stays open")], running=1)) == LOG


def test_a_server_that_is_gone_as_the_job_ends_is_asked_again() -> None:
    client = Client([(8, "stays open")], running=1)
    client.log_errors = [ConnectionError("refused")]
    assert follow(client) == LOG


def test_a_log_that_ends_at_once_is_whole() -> None:
    assert follow(Client([(1000, None)], running=0)) == LOG


def test_a_cluster_that_stays_away_is_given_up_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOST_TIMEOUT_SECONDS", 0.3)
    with pytest.raises(ServiceError, match=r"ray.*lost while job ran.*GANLIB_RAY_ADDRESS"):
        follow(Client([(6, ConnectionError("refused"))], running=0))


@pytest.mark.parametrize("running", [0, 1, 2])
def test_an_error_of_the_one_who_reads_the_lines_is_not_a_lost_connection(running: int) -> None:
    def full(line: str) -> None:
        raise OSError(f"no space for {line}")

    with pytest.raises(OSError, match="no space for first"):
        asyncio.run(module.follow(Client([(1000, None)], running=running), "job", full))  # type: ignore[arg-type]
