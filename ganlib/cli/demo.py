"""``ganlib demo``: from nothing to a registered generator and a picture to look at."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ganlib.cli.flow_runs import pages, retrain
from ganlib.data.raw.add import add_dataset
from ganlib.data.raw.known import Places
from ganlib.errors import SourceUnavailable
from ganlib.generators.fetch import load
from ganlib.quality.grids import grid, write_png
from ganlib.settings import Settings, load_settings
from ganlib.stack import down, status, up
from ganlib.storage import open_prefix, open_store

if TYPE_CHECKING:
    from flows.retrain import Retrained

RECIPE, STAND_IN = "fashion-mnist-wgan", "digits-wgan"
GRID_SAMPLES = 64
STAGES = ("train", "evaluate", "publish", "gate")


@dataclass
class Demo:
    """One walk through everything; ``say`` gets its lines."""

    say: Callable[[str], None]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    places: Places | None = None
    """Where the dataset is looked for, when not in the usual places."""
    verbose: bool = False
    """Whether to show the lines of Prefect, Ray and other libraries, too."""

    def run(self) -> dict[str, Any]:
        """Services, dataset, flow, picture; returns what ``demo.json`` holds.

        Interrupted, it takes down again the services that it started; what was trained stays, and
        the next run goes on from there.
        """
        began = time.monotonic()
        settings = load_settings()
        was_up = status(settings).ready
        try:
            up(settings, report=self.say)
            settings = load_settings()
            services_seconds = time.monotonic() - began
            recipe, dataset_seconds = self.add_dataset(settings)
            retrained = retrain(settings, recipe, self.overrides, verbose=self.verbose)
        except BaseException:
            if not was_up:
                down(settings, report=self.say)
            raise
        summary = self._summarize(settings, retrained)
        seconds = {stage: retrained.seconds.get(stage, 0.0) for stage in STAGES}
        summary["seconds"] = {
            "services": round(services_seconds, 1),
            "dataset": round(
                dataset_seconds + sum(retrained.seconds.get(s, 0.0) for s in ("dataset", "pull")), 1
            ),
            **seconds,
            "total": round(time.monotonic() - began, 1),
        }
        (settings.home / "demo.json").write_text(json.dumps(summary, indent=2) + "\n")
        self._show(summary, retrained)
        return summary

    def add_dataset(self, settings: Settings) -> tuple[str, float]:
        """Fashion-MNIST, or digits where it cannot be had; the recipe for it, and the seconds it took."""
        began = time.monotonic()
        store = open_store(settings)

        def add(name: str) -> None:
            added = add_dataset(
                store,
                name,
                None,
                open_store=lambda uri: open_prefix(settings, uri),
                scratch=settings.scratch,
                places=self.places,
            )
            self.say(f"dataset {added.name}: {added.source}")

        try:
            add("fashion-mnist")
            recipe = RECIPE
        except SourceUnavailable as error:
            self.say(f"{error}")
            self.say("going on with scikit-learn's handwritten digits instead of clothes")
            add("digits")
            recipe = STAND_IN
        return recipe, time.monotonic() - began

    def _summarize(self, settings: Settings, retrained: Retrained) -> dict[str, Any]:
        registered = retrained.generator
        reference = f"{registered.model}/{registered.version}"
        generator = load(reference)
        path = settings.home / "grid.png"
        write_png(path, grid(generator.sample(GRID_SAMPLES, seed=0), columns=8))
        tags = registered.tags
        return {
            "model": registered.model,
            "version": registered.version,
            "alias": registered.alias,
            "dataset": retrained.dataset.name,
            "dataset_digest": retrained.dataset.digest,
            "metric": tags["ganlib.metric"],
            "value_untrained": float(tags["ganlib.value_untrained"]),
            "value_trained": float(tags["ganlib.value"]),
            "images_seen": int(tags["ganlib.images_seen"]),
            "grid": str(path),
            "urls": pages(settings),
        }

    def _show(self, summary: Mapping[str, Any], retrained: Retrained) -> None:
        name = f"{summary['model']} version {summary['version']} ({summary['alias']})"
        if retrained.skipped:
            self.say(f"\nNothing was trained: {retrained.skipped}.\nThese are pictures of {name}.")
        else:
            self.say(f"\nRegistered {name}, after {summary['images_seen'] / 1000:,.0f} thousand pictures.")
        if retrained.decision is not None:
            self.say(f"The gate: {retrained.decision.reason}.")
        self.say(
            f"Distance to held-out {summary['dataset']} ({summary['metric']}): "
            f"{summary['value_untrained']:.0f} untrained, {summary['value_trained']:.0f} trained.\n"
            f"Look at it:  {summary['grid']}"
        )
        for page, url in summary["urls"].items():
            self.say(f"{page + ':':<12} {url}")
        self.say("The pages of prefect and ray ask for a login: `ganlib login prefect`, `ganlib login ray`.")
        self.say(f"It took {summary['seconds']['total']:.0f} s. `ganlib down` ends the services.")
