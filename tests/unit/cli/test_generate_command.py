from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from ganlib.cli.generate import (
    kind_of,
    parse_seeds,
    wanted_pictures,
    write_pictures,
)
from ganlib.errors import ConfigError
from ganlib.generators.loaded import LoadedGenerator
from ganlib.generators.places import LIMITS, check_place


@pytest.mark.parametrize(
    ("out", "asked", "kind"),
    [
        ("a.png", None, "png"),
        ("a.PNG", None, "png"),
        ("a.npz", None, "npz"),
        ("a.gif", "gif", "gif"),
        ("a", None, "folder"),
        ("a/", None, "folder"),
        ("a.v2", "folder", "folder"),
        ("a", "npz", "npz"),
    ],
)
def test_a_path_says_what_it_becomes(out: str, asked: str | None, kind: str) -> None:
    assert kind_of(Path(out), asked) == kind


@pytest.mark.parametrize(
    ("out", "asked", "says"),
    [
        ("a.jpg", None, r"a\.jpg must end with \.png"),
        ("a.v2", None, "say with --format"),
        ("a.png", "gif", "another format than --format gif"),
        ("a.png", "folder", "another format"),
    ],
)
def test_a_path_that_says_something_else_is_refused(out: str, asked: str | None, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        kind_of(Path(out), asked)


def test_places_are_looked_at_first(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "empty").mkdir()
    check_place(tmp_path / "empty", "folder")
    check_place(tmp_path / "new", "folder")
    check_place(tmp_path / "full" / "file", "png")
    for out, kind, says in (
        ("full", "folder", "is not empty"),
        ("full", "png", "is a folder"),
        ("full/file", "folder", "is a file"),
        ("none/a.png", "png", "there is no folder"),
        ("none/new", "folder", "there is no folder"),
    ):
        with pytest.raises(ConfigError, match=says):
            check_place(tmp_path / out, kind)


@pytest.mark.parametrize(
    "text", ["", "1", "1,", "1,a", "1,-2", "1,2147483648", "1;2", ",".join(["1"] * 1001)]
)
def test_what_are_no_seeds_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--interpolate"):
        parse_seeds(text)
    assert parse_seeds(" 1, 2,3") == (1, 2, 3)


def test_options_that_would_do_nothing_are_refused() -> None:
    for count, seed, interpolate, steps, says in (
        (None, None, None, 3, "--steps is for --interpolate"),
        (3, None, "1,2", None, "--count 3 does nothing"),
        (None, 0, "1,2", None, "--seed 0 does nothing"),
    ):
        with pytest.raises(ConfigError, match=says):
            wanted_pictures(count, seed, interpolate, steps, None, None)
    assert wanted_pictures(None, None, None, None, None, None).total == 64
    assert wanted_pictures(None, None, "1,2,3", 5, None, None).total == 11


def test_every_kind_holds_the_same_pictures(tmp_path: Path, conditional: LoadedGenerator) -> None:
    wanted = wanted_pictures(6, 3, None, None, "bag", 0.5)
    expected = conditional.sample(6, 3, "bag", 0.5)[:, 0].numpy()
    assert set(LIMITS) == {"png", "folder", "npz", "gif"}
    for kind in LIMITS:
        write_pictures(tmp_path / kind, kind, conditional, wanted, fps=10)
    with np.load(tmp_path / "npz") as arrays:
        assert np.array_equal(arrays["images"][..., 0], expected)
        assert arrays["labels"].tolist() == [2] * 6
        assert arrays["seeds"].tolist() == [3]
    for index in range(6):
        with Image.open(tmp_path / "folder" / f"{index:06}.png") as picture:
            assert np.array_equal(np.asarray(picture), expected[index])
    with Image.open(tmp_path / "png") as grid:
        assert grid.size == (3 * 30 + 2, 2 * 30 + 2)
        assert np.array_equal(np.asarray(grid)[32:60, 32:60], expected[4])
    with Image.open(tmp_path / "gif") as gif:
        gif.seek(5)
        assert np.array_equal(np.asarray(gif.convert("L")), expected[5])


def test_an_interpolation_is_written_with_its_seeds_and_class(
    tmp_path: Path, conditional: LoadedGenerator
) -> None:
    wanted = wanted_pictures(None, None, "4,5", 2, None, None)
    for kind in LIMITS:
        write_pictures(tmp_path / kind, kind, conditional, wanted, fps=10)
    with np.load(tmp_path / "npz") as arrays:
        assert np.array_equal(arrays["images"][..., 0], conditional.interpolate([4, 5], 2)[:, 0].numpy())
        assert arrays["labels"].tolist() == [0, 0, 0]
        assert arrays["seeds"].tolist() == [4, 5]
    assert (tmp_path / "folder" / "labels.csv").read_text().splitlines()[1:] == [
        f"00000{number}.png,0,boot" for number in range(3)
    ]
    with Image.open(tmp_path / "png") as strip:
        assert strip.size == (3 * 30 + 2, 30 + 2)
    with GifImageFile(tmp_path / "gif") as gif:
        assert gif.n_frames == 3
