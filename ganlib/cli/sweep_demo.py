"""``ganlib sweep-demo``: from nothing to a sweep over critic steps and clip value, and its pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ganlib.cli.demo import Demo
from ganlib.cli.flow_runs import run_sweep
from ganlib.cli.sweep_views import show_result, write_report
from ganlib.settings import load_settings
from ganlib.stack import down, status, up
from ganlib.sweep.records import SweepResult

# Chosen for ten minutes on two cores with room: a trial takes a second for each 1 to 2 kimg, and some seconds
# for each evaluation on 500 pictures, of which there is one at each multiple of the first rung.
SEARCH = ("cadence.n_critic=1,2,3,5", "objective.clip=0.03,0.1,0.3")
OPTIONS: Mapping[str, Any] = {
    "algorithm": "grid",
    "scheduler": "asha",
    "total_kimg": 60,
    "grace_kimg": 15,
    "reduction": 3,
    "finalists": 3,
}
OVERRIDES: Mapping[str, Any] = {"evaluation.curve_samples": 500}


class Shown(NamedTuple):
    """Result of the demo."""

    result: SweepResult
    paths: list[Path]
    """Pictures and tables, in ``$GANLIB_HOME/sweep``."""
    seconds: float


@dataclass
class SweepDemo:
    """One walk through everything; ``say`` gets its lines."""

    say: Callable[[str], None]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the recipe, on top of the demo's own."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the sweep, on top of the demo's own."""
    verbose: bool = False
    """Whether to show the lines of Prefect, Ray and other libraries, too."""

    def run(self) -> Shown:
        """Services, dataset, sweep, pictures.

        Interrupted, it takes down again the services that it started; finished trials stay, and the
        next run goes on from there.
        """
        began = time.monotonic()
        was_up = status(load_settings()).ready
        try:
            up(load_settings(), report=self.say)
            settings = load_settings()
            recipe, _ = Demo(say=self.say).add_dataset(settings)
            overrides, options = {**OVERRIDES, **self.overrides}, {**OPTIONS, **self.options}
            result = run_sweep(
                settings, recipe, overrides, verbose=self.verbose, search=list(SEARCH), options=options
            ).result
        except BaseException:
            if not was_up:
                down(load_settings(), report=self.say)
            raise
        show_result(settings, result, self.say)
        shown = Shown(
            result, write_report(settings, result, settings.home / "sweep"), time.monotonic() - began
        )
        self.say("The same as files:")
        for path in shown.paths:
            self.say(f"  {path}")
        self.say(f"It took {shown.seconds:.0f} s. `ganlib down` ends the services.")
        return shown
