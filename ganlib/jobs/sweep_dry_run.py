"""The job behind ``ganlib sweep --dry-run``: what the sweep would need here, and how long it may take."""

from __future__ import annotations

from ganlib.cluster.program import connect, emit, run_main
from ganlib.settings import load_settings
from ganlib.storage import open_store
from ganlib.sweep.plan import describe, make_plan
from ganlib.sweep.spec import read_sweep_spec


def main(sweep: str) -> None:
    """Measure on the cluster, and say it in a line; nothing of the sweep begins.

    Raises:
        ConfigError: There is no such sweep, or no trial of it would ever find room.
    """
    spec = read_sweep_spec(open_store(load_settings()), sweep)
    connect()
    emit(describe(make_plan(spec, (), spec.config.trial_count)))


if __name__ == "__main__":
    run_main(main)
