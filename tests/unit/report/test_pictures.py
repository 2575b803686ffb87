from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from report_examples import METRIC, curve, evaluated, grid, sweep_of, twelve

from ganlib.report.canvas import COLOURS, WIDTH, distance_norm, render
from ganlib.report.curves import curves
from ganlib.report.landscape import landscape
from ganlib.report.parallel_coordinates import parallel_coordinates
from ganlib.report.samples import TrialSamples, sample_grids
from ganlib.report.sweep import files, pictures
from ganlib.sweep.records import SweepResult


def texts(figure: Figure) -> list[str]:
    """Everything that is written in it."""
    return [found.get_text() for found in figure.findobj(Text) if found.get_visible() and found.get_text()]


def many(count: int) -> list[dict[str, Any]]:
    """Trials over four fields: whole numbers, two logarithmic scales, and words."""
    return [
        {
            "cadence.n_critic": 1 + number % 5,
            "objective.clip": 0.003 * 1.08**number,
            "optimizer.critic_learning_rate": 1e-5 * 1.1 ** ((number * 37) % count),
            "network.critic_norm": ("batch", "layer", "none")[number % 3],
        }
        for number in range(count)
    ]


ODD = {
    "no trials": sweep_of([]),
    "no distance": sweep_of(grid(), dict.fromkeys(range(12), "waiting"), dict.fromkeys(range(12), ())),
    "nothing but failures": sweep_of(
        grid(), dict.fromkeys(range(12), "diverged"), {n: curve(math.nan) for n in range(12)}
    ),
    "infinite": sweep_of(grid(), curves={n: curve(math.inf, math.nan, -math.inf) for n in range(12)}),
    "one trial": sweep_of(grid((1,), (0.1,))),
    "all alike": sweep_of(grid(), curves={n: curve(300.0) for n in range(12)}),
    "below zero": sweep_of(grid(), curves={n: curve(0.1, -0.01 * n) for n in range(12)}),
    "far apart": sweep_of(grid(), curves={n: curve(10.0**n) for n in range(12)}),
    "no field": sweep_of([{} for _ in range(3)]),
    "a field that some lack": sweep_of(
        [{"objective.clip": 0.1}, {"objective.penalty": 10.0}, {"objective.clip": 0.2}]
    ),
    "dollars": sweep_of([{"recipe.word": "a$b$"}, {"recipe.word": "c$"}]),
    "sixty": sweep_of(many(60), dict.fromkeys(range(20, 50), "stopped") | {9: "diverged"}),
    "truth values": sweep_of([{"cadence.bursts": n % 2 == 0, "seed": n} for n in range(8)]),
    "twelve": twelve(),
}
EVERYWHERE = ("no trials", "infinite", "far apart", "dollars")
"""What may break pictures over any number of fields."""


@pytest.mark.parametrize(
    ("figure", "name"),
    [*((landscape, name) for name in ODD), *product((parallel_coordinates, curves), EVERYWHERE)],
)
def test_every_sweep_can_be_drawn_without_a_warning(
    figure: Callable[[SweepResult], Figure], name: str
) -> None:
    result = ODD[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = render(figure(result))
    assert picture.shape[1] == WIDTH
    assert 400 <= picture.shape[0] <= 1000
    assert picture.dtype.name == "uint8"
    assert picture.std() > 1, "something is on it"


def test_a_heat_map_has_a_cell_for_each_pair_with_what_became_of_it() -> None:
    said = texts(landscape(twelve()))
    assert "cadence.n_critic" in said
    assert "objective.clip" in said
    assert METRIC in said
    assert "300\nrecipe" in said
    assert "620\nstopped\nat 10 kimg" in said
    assert "850\ndiverged" in said
    assert said.count("diverged") == 1
    assert "died" in said
    assert "best: trial 1" in said or "best: trial 0" in said


def test_a_cell_with_several_trials_shows_the_best_of_them() -> None:
    values = [{**pair, "seed": seed} for seed in (0, 1, 2) for pair in grid((1, 2), (0.1, 0.2))]
    said = texts(landscape(sweep_of(values)))
    assert "301\nbest of 3" in said
    assert (
        "each cell: the smallest distance on the curves of its trials, whatever the other fields were" in said
    )


def test_values_that_do_not_recur_are_points_on_a_scale_and_not_cells() -> None:
    figure = landscape(
        sweep_of([{"objective.clip": 0.01 * 1.3**n, "cadence.n_critic": n + 1} for n in range(12)])
    )
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert [axes.get_xlabel(), axes.get_ylabel()] == ["objective.clip", "cadence.n_critic"]
    at = {tuple(points.get_offsets()[0]) for points in axes.collections if len(points.get_offsets()) == 1}
    assert (0.01 * 1.3**4, 5.0) in {(float(x), float(y)) for x, y in at}


def test_one_field_is_drawn_against_the_distance() -> None:
    figure = landscape(
        sweep_of([{"objective.clip": clip} for clip in (0.1, 0.01, 1.0)], {2: "diverged"}, {2: ()})
    )
    axes = figure.axes[0]
    assert axes.get_ylabel() == f"{METRIC}, smaller is better"
    [line] = [line for line in axes.lines if len(line.get_xdata()) > 1]
    assert list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == [(0.1, 300.0), (0.01, 301.0)]
    assert "at the upper edge: trials without a distance" in texts(figure)


def test_colours_ignore_one_distance_that_is_far_off() -> None:
    norm = distance_norm([200.0, 210.0, 220.0, 230.0, 240.0, 9000.0])
    assert norm(240.0) > 0.3
    assert COLOURS(norm(9000.0)) == COLOURS(1.0)


def test_parallel_coordinates_name_every_field_and_draw_every_trial() -> None:
    figure = parallel_coordinates(ODD["sixty"])
    axes = figure.axes[0]
    names = [label.get_text().replace("\n", "") for label in axes.get_xticklabels()]
    assert names == ["n_critic", "clip", "critic_learning_rate", "critic_norm", METRIC]
    trials = [line for line in axes.lines if len(line.get_xdata()) == 5 and line.get_marker() in ("None", "")]
    assert len(trials) == 60
    assert {"batch", "layer", "none", "0.01", "0.1"} <= set(texts(figure))


def test_curves_end_where_their_trials_ended() -> None:
    result = twelve()
    axes = curves(result).axes[0]
    ends = sorted(float(line.get_xdata()[-1]) for line in axes.lines)
    # Eight curves of three points, one of two; two that have one point; one without a finite one.
    assert ends == [0.0, 0.0, 10.0, *[20.0] * 7]
    assert axes.get_xlabel() == "real pictures the critic has seen, kimg"
    assert "7 finished, 2 stopped, 2 diverged, 1 died" in texts(axes.figure)


def test_curves_say_which_trial_is_the_best() -> None:
    result = sweep_of(grid())
    trials = [
        evaluated(t, 250.0 if t.number == 4 else 280.0) if t.number in (0, 4) else t for t in result.trials
    ]
    done = result.model_copy(update={"trials": tuple(trials), "best": 4, "status": "finished"})
    assert "best: trial 4 (n_critic 2, clip 0.1)" in texts(curves(done))


def samples(*numbers: int, channels: int = 1, size: int = 28) -> list[TrialSamples]:
    ramp = torch.arange(64 * channels * size * size).remainder(251).to(torch.uint8)
    return [TrialSamples(n, ramp.reshape(64, channels, size, size)) for n in numbers]


@pytest.mark.parametrize(("channels", "size", "count"), [(1, 28, 5), (3, 64, 3), (1, 8, 1)])
def test_samples_stand_side_by_side_pixel_for_pixel(channels: int, size: int, count: int) -> None:
    result = sweep_of(grid())
    shown = samples(*range(count), channels=channels, size=size)
    figure = sample_grids(result, shown)
    picture = render(figure)
    assert picture.shape[1] >= WIDTH
    assert len(figure.axes) == count
    said = "\n".join(texts(figure))
    assert "trial 0, the recipe\nn_critic 1\nclip 0.03\n300 on its curve" in said
    box = figure.axes[0].get_window_extent()
    whole = 8 * (size + 2) + 2
    assert box.width % whole == pytest.approx(0, abs=0.01)
    assert box.height == pytest.approx(box.width)
    # A row of pixels of the first grid is in the picture as it is.
    zoom = round(box.width / whole)
    top, left = picture.shape[0] - round(box.y1), round(box.x0)
    cut = picture[top : top + whole * zoom : zoom, left : left + whole * zoom : zoom]
    first = cut[2 : 2 + size, 2 : 2 + size].transpose(2, 0, 1)[:channels]
    assert (first == shown[0].pictures[0].numpy()).all()


def test_samples_tell_the_distance_with_fresh_latents() -> None:
    result = sweep_of(grid())
    done = result.model_copy(
        update={"trials": (evaluated(result.trials[0], 287.25), *result.trials[1:]), "best": 0}
    )
    said = "\n".join(texts(sample_grids(done, samples(0))))
    assert "trial 0, the recipe, the best" in said
    assert "287.2 with fresh latents" in said


def test_samples_of_no_trial_or_of_six_are_refused() -> None:
    for numbers in ((), range(6)):
        with pytest.raises(ValueError, match="1 to 5"):
            sample_grids(sweep_of(grid()), samples(*numbers))


def test_the_whole_report_is_files_by_name() -> None:
    drawn = pictures(twelve(), samples(0, 1))
    assert list(drawn) == ["heat_map", "parallel_coordinates", "curves", "samples"]
    found = files(twelve(), drawn)
    assert {name.rpartition(".")[2] for name in found} == {"png", "md", "csv", "json"}
    assert all(data.startswith(b"\x89PNG") for name, data in found.items() if name.endswith(".png"))
