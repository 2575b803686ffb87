from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
import typer

from ganlib.cli.interrupts import resumable

STOPPED = "job run-train--1 was stopped"


class Aborted(BaseException):
    """The exception into which Prefect turns SIGTERM."""


def end_with(signal_number: int) -> None:
    os.kill(os.getpid(), signal_number)
    pytest.fail("the signal did not arrive")


def stopped_by_ctrl_c() -> None:
    error = KeyboardInterrupt()
    error.add_note(STOPPED)
    raise error


def stopped_by_sigterm() -> None:
    """As in a flow: Prefect takes the signal, and sends it again when the flow has ended."""
    try:
        error = Aborted()
        error.add_note(STOPPED)
        raise error
    except Aborted:
        end_with(signal.SIGTERM)


@pytest.mark.parametrize(
    ("work", "status", "outcome"),
    [
        (lambda: end_with(signal.SIGINT), 130, ""),
        (lambda: end_with(signal.SIGTERM), 143, ""),
        (stopped_by_ctrl_c, 130, f": {STOPPED}"),
        (stopped_by_sigterm, 143, f": {STOPPED}"),
    ],
)
def test_an_interrupt_is_one_message_that_names_the_job_and_the_command(
    work: Callable[[], None],
    status: int,
    outcome: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["/bin/ganlib", "retrain", "digits-wgan", "--request", "a b"])
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(typer.Exit) as ended, resumable():
        work()
    assert ended.value.exit_code == status
    said, command, *more = capsys.readouterr().err.splitlines()
    assert said == f"interrupted{outcome}; the same command goes on from here:"
    assert command == "  ganlib retrain digits-wgan --request 'a b'"
    assert more == []
    assert signal.getsignal(signal.SIGTERM) == before


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="a bug"), resumable():
        raise ValueError("a bug")
