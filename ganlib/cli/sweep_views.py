"""Sweeps on the command line: finding one by name, showing its plan and how it came out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ganlib.cli.flow_runs import pages
from ganlib.cluster.launch import cluster_resources
from ganlib.doctor.preflight import preflight
from ganlib.errors import ConfigError, UnknownName
from ganlib.ports import ObjectStore
from ganlib.settings import Settings
from ganlib.storage import open_store
from ganlib.sweep.config import SweepConfig
from ganlib.sweep.plan import room_for
from ganlib.sweep.records import SweepResult
from ganlib.sweep.spec import read_sweep_result

MOST_LISTED = 40
"""Trials of a grid that a dry run lists."""


def sweeps(store: ObjectStore) -> list[SweepResult]:
    """Every sweep that has begun, by name."""
    return [read_sweep_result(store, name) for name in _names(store)]


def _names(store: ObjectStore) -> list[str]:
    return sorted(o.key.split("/")[1] for o in store.list("sweeps/") if o.key.endswith("/result.json"))


def sweep_named(store: ObjectStore, name: str) -> SweepResult:
    """The sweep of that name, or the only one whose name begins so.

    Raises:
        UnknownName: There is none.
        ConfigError: There are several.
    """
    names = _names(store)
    found = [name] if name in names else [known for known in names if known.startswith(name)]
    if not found:
        raise UnknownName("sweep", name, names, "`ganlib sweep digits-wgan` starts one")
    if len(found) > 1:
        raise ConfigError(f"{name!r} begins the names of {len(found)} sweeps: {', '.join(found)}; name one")
    return read_sweep_result(store, found[0])


def write_report(settings: Settings, result: SweepResult, folder: Path) -> list[Path]:
    """Write a sweep's pictures and tables into a folder; returns their paths, the pictures first."""
    from ganlib.report.sweep import files, pictures
    from ganlib.report.sweep_run import SampleMaker

    top = SampleMaker(open_store(settings))(result)
    found = files(result, pictures(result, top))
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in found.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in found]


def show_result(settings: Settings, result: SweepResult, say: Callable[[str], None]) -> None:
    """The table of the trials, which is the best and how the recipe compares, and where to look."""
    from ganlib.report.table import result_summary
    from ganlib.report.terminal import print_trials

    said = result_summary(result)
    print_trials(result)
    say("")
    say(said[0].upper() + said[1:] + ".")
    if result.status != "finished":
        say(f"It has {'not ended' if result.status == 'running' else result.status}.")
    # MLflow's address of a run whose experiment is not named.
    page = f"{pages(settings)['mlflow'].rstrip('/')}/#/runs/{result.tracking_run_id}"
    say(f"Pictures, curves and trials: {page}")


def show_plan(settings: Settings, config: SweepConfig, say: Callable[[str], None]) -> None:
    """Print what a sweep would train and how many trials the cluster has room for; nothing is started.

    Raises:
        ConfigError: No trial fits on the cluster.
        GanlibError: What :func:`~ganlib.doctor.preflight.preflight` finds, after the trials have been listed.
    """
    _list_trials(config, say)
    preflight(settings, config.trial_config({}))
    resources = cluster_resources(settings)
    if resources is None:
        say("the cluster has only just started and does not say yet what it has; ask again")
        return
    # Ray's address tells sums, not nodes; the sweep's job looks at each node.
    cuda, room = room_for(config, [resources])
    at_once, cpus, gpus = min(room, config.trial_count), resources["CPU"], resources["GPU"]
    device = "GPUs" if cuda else "CPUs"
    say(f"the cluster has {cpus:g} CPUs and {gpus:g} GPUs: {at_once} trials at once, on {device}")


def _list_trials(config: SweepConfig, say: Callable[[str], None]) -> None:
    recipe = config.recipe_values()
    say(f"{config.trial_count} trials of {config.base.recipe} on {config.base.dataset.name}:")
    for field, search in config.search.items():
        say(f"  {field}: {search}   (the recipe itself: {recipe.get(field, 'it has none')})")
    if config.algorithm == "grid":
        rows = [recipe, *config.combinations()][: config.trial_count]
        for number, row in enumerate(rows[:MOST_LISTED]):
            say(f"  trial {number}: " + ", ".join(f"{name} = {value}" for name, value in row.items()))
        if len(rows) > MOST_LISTED:
            say(f"  … and {len(rows) - MOST_LISTED} more")
    else:
        say(f"  chosen by {config.algorithm}, seed {config.seed}; trial 0 is the recipe itself")
    looks = f"; {config.scheduler} looks from {config.grace_kimg:g} kimg on"
    say(f"each up to {config.total_kimg:g} kimg" + ("" if config.scheduler == "none" else looks))
    say(f"then the best {config.finalists} and the recipe again, {config.final_samples} fresh samples each")
