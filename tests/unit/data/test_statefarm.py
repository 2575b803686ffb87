"""The State Farm archive is recognized by its names and labelled by its folders and table."""

from __future__ import annotations

import pytest

from ganlib.data.labelling.labels import LabelledPicture
from ganlib.data.labelling.statefarm import (
    STATEFARM_CLASSES,
    UNLABELLED_CLASS,
    StateFarmLayout,
    find_statefarm,
    label_statefarm,
)
from ganlib.errors import DataError

TRAIN = [f"imgs/train/c{label}/img_{number}{label}.jpg" for label in range(10) for number in range(2)]
TEST = ["imgs/test/img_900.jpg", "imgs/test/img_901.jpg"]
TABLE = b"subject,classname,img\r\n" + b"".join(
    f"p0{number}2,c{label},img_{number}{label}.jpg\r\n".encode() for label in range(10) for number in range(2)
)


@pytest.mark.parametrize("top", ["", "state-farm-distracted-driver-detection/"])
def test_the_archive_is_recognized_and_labelled_also_within_a_folder(top: str) -> None:
    names = [top + name for name in (*TRAIN, *TEST)]
    layout = find_statefarm([*names, f"{top}driver_imgs_list.csv", "__MACOSX/x"])
    assert layout == StateFarmLayout(top=top)
    found = label_statefarm(layout, names, TABLE)
    assert found.classes == STATEFARM_CLASSES
    assert found.pictures[0] == LabelledPicture(f"{top}imgs/train/c0/img_00.jpg", "safe driving", "p002")
    assert found.pictures[-1] == LabelledPicture(f"{top}imgs/train/c9/img_19.jpg", "passenger", "p012")
    assert (len(found.pictures), found.refused, found.passed_over) == (20, (), 2)
    assert (found.rows_without_picture, found.pictures_without_row) == (0, 0)


def test_unlabelled_pictures_are_taken_when_asked_for_as_the_last_class_without_a_group() -> None:
    found = label_statefarm(StateFarmLayout(), [*TEST, *TRAIN, "x.jpg"], TABLE, unlabelled=True)
    assert found.classes == (*STATEFARM_CLASSES, UNLABELLED_CLASS)
    assert found.pictures[:2] == tuple(LabelledPicture(name, UNLABELLED_CLASS, None) for name in TEST)
    assert found.passed_over == 1


@pytest.mark.parametrize(
    "names",
    [
        [*TRAIN],
        ["driver_imgs_list.csv", *TEST],
        ["driver_imgs_list.csv", "imgs/train/c10/a.jpg", "imgs/train/c1/deep/a.jpg", "imgs/train/c1/a.png"],
        ["driver_imgs_list.csv", *(f"top/{name}" for name in TRAIN)],
        [*(f"a/b/{name}" for name in (*TRAIN, "driver_imgs_list.csv"))],
        [f"{top}/{name}" for top in "ab" for name in (*TRAIN, "driver_imgs_list.csv")],
        [],
    ],
)
def test_other_sources_are_not_taken_for_it(names: list[str]) -> None:
    assert find_statefarm(names) is None


def test_a_folder_with_a_very_long_name_does_not_make_the_reason_too_long() -> None:
    top = f"{'x' * 900}/"
    found = label_statefarm(
        StateFarmLayout(top=top), [f"{top}{name}" for name in (*TRAIN, TRAIN[0] + ".jpg")], TABLE
    )
    assert [len(each.detail) for each in found.refused] == [400]


def test_a_picture_without_a_row_or_with_another_class_in_it_is_refused() -> None:
    new = "imgs/train/c0/img_new.jpg"
    table = TABLE.replace(b"p002,c5,img_05.jpg\r\n", b"p002,c6,img_05.jpg\r\np002,c1,gone.jpg\r\n")
    found = label_statefarm(StateFarmLayout(), [*TRAIN, new], table)
    assert {(refused.name, refused.reason) for refused in found.refused} == {
        (new, "no group"),
        ("imgs/train/c5/img_05.jpg", "no label"),
    }
    assert (found.rows_without_picture, found.pictures_without_row) == (1, 1)
    assert len(found.pictures) == 19


def test_a_table_of_something_else_is_an_error() -> None:
    with pytest.raises(DataError, match="columns"):
        label_statefarm(StateFarmLayout(), TRAIN, b"a,b\n1,2\n")
    with pytest.raises(DataError, match=r"no picture of imgs/train has a row in driver_imgs_list\.csv"):
        label_statefarm(StateFarmLayout(), TRAIN, b"subject,classname,img\np1,c0,other.jpg\n")
