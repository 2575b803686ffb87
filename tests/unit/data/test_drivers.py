"""Drawn drivers: layout, determinism, video-like frames, and classes that can be told apart."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression

from ganlib.data.labelling.label_table import read_label_table
from ganlib.data.labelling.statefarm import (
    STATEFARM_CLASSES,
    SUBJECTS_COLUMNS,
    SUBJECTS_TABLE,
    find_statefarm,
    label_statefarm,
)
from ganlib.data.near_copies import NEAR_BITS, perceptual_hashes
from ganlib.data.raw.drivers import archive
from ganlib.data.raw.drivers.archive import (
    ALL_DRIVERS,
    ALL_UNLABELLED,
    CLASS_PICTURES,
    make_drivers,
    plan_drivers,
)
from ganlib.data.raw.drivers.picture import draw_picture
from ganlib.data.raw.drivers.subjects import SUBJECT_PICTURES, draw_subject
from ganlib.errors import ConfigError, DataError

SOME = sorted(SUBJECT_PICTURES)[:10]


def decoded(data: bytes, width: int = 64) -> NDArray[np.float32]:
    image = Image.open(io.BytesIO(data)).resize((width, width), Image.Resampling.BOX)
    return np.asarray(image).astype(np.float32)


def test_a_plan_has_the_numbers_of_the_real_archive() -> None:
    plan = plan_drivers(ALL_DRIVERS, 0)
    assert len(plan) == len({picture.file for picture in plan}) == ALL_DRIVERS == 22_424
    classes = Counter(picture.label for picture in plan)
    assert all(abs(classes[label] - count) <= 1 for label, count in enumerate(CLASS_PICTURES))
    subjects = Counter(picture.subject for picture in plan)
    assert all(abs(subjects[name] - count) <= 10 for name, count in SUBJECT_PICTURES.items())


def test_unlabelled_pictures_are_of_other_subjects_and_of_all_classes() -> None:
    plan = plan_drivers(ALL_DRIVERS, 0, ALL_UNLABELLED)
    labelled, others = plan[:ALL_DRIVERS], plan[ALL_DRIVERS:]
    assert all(picture.labelled for picture in labelled)
    assert not any(picture.labelled for picture in others)
    assert len(plan) == len({picture.file for picture in plan}) == 102_150
    assert len({picture.name for picture in plan}) == len(plan)
    assert not {picture.subject for picture in labelled} & {picture.subject for picture in others}
    counts = Counter(picture.subject for picture in others)
    assert len(counts) == 92
    assert max(counts.values()) - min(counts.values()) <= 20
    assert set(Counter(picture.label for picture in others)) == set(range(10))
    cells = [(p.subject, p.label, p.frame, p.labelled) for p in labelled]
    assert cells == [(p.subject, p.label, p.frame, p.labelled) for p in plan_drivers(ALL_DRIVERS, 0)]


@pytest.mark.parametrize("pictures", [1, 10, 99, 261, 1000])
def test_small_plans_have_all_pictures_spread_over_classes(pictures: int) -> None:
    plan = plan_drivers(pictures, 3)
    assert len(plan) == len({(p.subject, p.label, p.frame) for p in plan}) == pictures
    assert {picture.file for picture in plan} == {f"img_{number + 1}.jpg" for number in range(pictures)}
    counts = Counter(picture.label for picture in plan)
    assert max(counts.values()) <= pictures * 0.115 + 1
    if pictures >= 99:
        assert len(counts) == 10


def test_the_zip_has_the_layout_of_the_real_archive(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    make_drivers(
        tmp_path / "d.zip",
        pictures=10,
        unlabelled=3,
        seed=5,
        processes=1,
        progress=lambda *at: seen.append(at),
    )
    assert seen == [(done, 13) for done in range(1, 14)]
    assert [path.name for path in tmp_path.iterdir()] == ["d.zip"]
    with zipfile.ZipFile(tmp_path / "d.zip") as zipped:
        names = zipped.namelist()
        layout = find_statefarm(names)
        assert layout is not None
        table = zipped.read(SUBJECTS_TABLE)
        assert table.startswith(b"subject,classname,img\np021,c6,img_")
        assert b"u0" not in table
        picture = Image.open(io.BytesIO(zipped.read(names[-1])))
        assert (picture.format, picture.size, picture.mode) == ("JPEG", (640, 480), "RGB")
    found = label_statefarm(layout, [name for name in names if name.endswith(".jpg")], table)
    assert (len(found.pictures), found.refused, found.passed_over) == (10, (), 3)
    assert found.classes == STATEFARM_CLASSES
    assert len(read_label_table(table, "t", SUBJECTS_COLUMNS).rows) == 10
    whole = label_statefarm(layout, [name for name in names if name.endswith(".jpg")], table, unlabelled=True)
    assert [picture.name.rpartition("/")[0] for picture in whole.pictures if picture.group is None] == [
        "imgs/test"
    ] * 3


@pytest.mark.slow
def test_equal_arguments_give_equal_bytes_however_many_processes_draw(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.zip" for number in range(3)]
    for path, processes, seed in zip(paths, (1, 2, 1), (7, 7, 8), strict=True):
        make_drivers(path, pictures=17, seed=seed, processes=processes)
    one, two, other = (path.read_bytes() for path in paths)
    assert one == two
    assert one != other


@pytest.mark.slow
def test_frames_that_follow_one_another_are_near_duplicates_and_others_are_not() -> None:
    def hashed(frames: range, label: int, name: str) -> NDArray[np.uint64]:
        pictures = [decoded(draw_picture(0, name, label, frame)) for frame in frames]
        return perceptual_hashes(np.stack(pictures).astype(np.uint8).transpose(0, 3, 1, 2))

    for label in (0, 6):
        video = hashed(range(20, 30), label, "p002")
        apart = np.bitwise_count(video[1:] ^ video[:-1])
        assert np.median(apart) <= NEAR_BITS
        strangers = np.concatenate([hashed(range(1), label, name) for name in SOME])
        others = np.bitwise_count(strangers[1:] ^ strangers[:-1])
        assert np.median(others) > 2 * NEAR_BITS
    assert draw_picture(0, "p002", 0, 1) != draw_picture(0, "p002", 0, 2)


@pytest.mark.slow
def test_classes_can_be_told_apart_in_subjects_that_were_not_seen() -> None:
    def features(names: list[str]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        pictures, labels = [], []
        for name in names:
            drawn = np.stack([decoded(draw_picture(1, name, label, 3), 32) for label in range(10)])
            # A subject's own colours are the mean of its pictures.
            pictures.append(np.abs(drawn - drawn.mean(0)).reshape(10, -1))
            labels += range(10)
        return np.concatenate(pictures), np.array(labels)

    known, labels = features(SOME[:7])
    new, wanted = features(SOME[7:])
    scale = known.std()
    fitted = LogisticRegression(max_iter=200).fit(known / scale, labels)
    assert fitted.score(new / scale, wanted) >= 0.6, "a tenth is chance"


def test_subjects_differ_and_seeds_draw_others() -> None:
    looks = {draw_subject(0, name) for name in SUBJECT_PICTURES} | {draw_subject(1, "p002")}
    assert len(looks) == 27
    assert len({(look.skin, look.hair, look.style) for look in looks}) > 15


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pictures": 0}, "0 pictures"),
        ({"pictures": 2_000_000}, "2,000,000 pictures"),
        ({"pictures": 1, "unlabelled": -1}, "-1 unlabelled"),
        ({"pictures": 1, "unlabelled": 1_000_000}, "at most 1,000,000 together"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments: dict[str, int], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        make_drivers(tmp_path / "d.zip", **arguments)  # type: ignore[arg-type]


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "d.zip"):
        with pytest.raises(ConfigError, match="cannot be written"):
            make_drivers(path, pictures=1)


def test_a_full_disk_leaves_no_half_a_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "_table", full)
    (tmp_path / "d.zip").write_bytes(b"before")
    with pytest.raises(DataError, match=r"d\.zip cannot be written: No space left"):
        make_drivers(tmp_path / "d.zip", pictures=1)
    assert [path.name for path in tmp_path.iterdir()] == ["d.zip"]
    assert (tmp_path / "d.zip").read_bytes() == b"before"


DRAW = """
import sys
from pathlib import Path
from ganlib.data.raw.drivers.archive import make_drivers
make_drivers(Path(sys.argv[1]), pictures=5000, processes=2, progress=lambda *at: print(*at, flush=True))
"""


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_under_the_name_of_the_zip(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-c", DRAW, str(tmp_path / "d.zip")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "1 5000\n"
        drawing = psutil.Process(running.pid).children(recursive=True)
        assert len(drawing) >= 2
    finally:
        running.kill()
        running.communicate()
    assert not (tmp_path / "d.zip").exists()
    # They end by themselves when the process that started them is gone.
    psutil.wait_procs(drawing, timeout=60)
    assert not [process for process in drawing if process.is_running() and process.status() != "zombie"]
