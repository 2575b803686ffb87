"""How a job module becomes a program: ``python -m ganlib.jobs.NAME RUN …``."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

import ray

from ganlib.cluster.lines import StageProgress, marked
from ganlib.errors import GanlibError

if TYPE_CHECKING:
    from ganlib.core.steps import WorkerPlace


def connect() -> None:
    """Connect this job's process to the cluster that runs it."""
    # Ray's helpers look for a cluster themselves and fail where several run on one machine, so each
    # process of the job is told the address.
    address = os.environ["RAY_ADDRESS"]
    ray.init(
        address,
        runtime_env={"env_vars": {"RAY_ADDRESS": address}},
        logging_level=logging.WARNING,
    )


def worker_place() -> WorkerPlace:
    """The place of this Ray Train worker among all of its run, with the device that Ray gave it."""
    # Drivers and light jobs import this module and must not wait for torch.
    import ray.train
    from ray.train.torch import get_device

    from ganlib.core.steps import WorkerPlace

    context = ray.train.get_context()
    return WorkerPlace(context.get_world_rank(), context.get_world_size(), get_device())


def emit(said: str | StageProgress) -> None:
    """Print what ganlib says to the job's log, marked as such, and flush it, for those who follow it."""
    sys.stdout.write(marked(said) + "\n")
    sys.stdout.flush()


def run_main(main: Callable[..., None]) -> None:
    """Call a job's ``main`` with the words of its command line; our own errors end it in one line."""
    # Ray stops a job with SIGTERM; as an exception it lets the job say that it was stopped.
    signal.signal(signal.SIGTERM, _exit)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        main(*sys.argv[1:])
    except GanlibError as error:
        emit(f"error: {error}")
        raise SystemExit(error.exit_code) from None
    finally:
        gc.freeze()  # else all that was imported is walked once more at exit, for a second


def _exit(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)
