"""Classes and groups from names and tables."""

from __future__ import annotations

import pytest

from ganlib.data.labelling import labels as labels_module
from ganlib.data.labelling.group_pattern import check_group_pattern, groups_by_pattern
from ganlib.data.labelling.label_table import Columns, read_label_table
from ganlib.data.labelling.labels import LabelledPicture, Labelling, LabelRules, label_pictures, match_rows
from ganlib.errors import ConfigError, DataError


def classes_of(found: Labelling) -> dict[str, str | None]:
    return {picture.name: picture.label for picture in found.pictures}


def why(found: Labelling) -> dict[str, str]:
    return {refused.name: refused.reason for refused in found.refused}


def test_the_first_folder_is_the_class() -> None:
    found = label_pictures(["dog/a.jpg", "cat/x/b.jpg", "flat.jpg"])
    assert classes_of(found) == {"dog/a.jpg": "dog", "cat/x/b.jpg": "cat"}
    assert found.classes == ("cat", "dog")
    assert why(found) == {"flat.jpg": "no label"}
    assert "0 folders" in found.refused[0].detail


def test_pictures_in_no_folder_have_no_class() -> None:
    assert label_pictures(["a.jpg", "b.jpg"]) == Labelling(
        (LabelledPicture("a.jpg", None, None), LabelledPicture("b.jpg", None, None)), ()
    )


def test_the_class_level_names_the_folder() -> None:
    names = ["all/dog/old/a.jpg", "all/cat/b.jpg", "all/c.jpg"]
    found = label_pictures(names, LabelRules(class_level=2))
    assert classes_of(found) == {names[0]: "dog", names[1]: "cat"}
    assert why(found) == {"all/c.jpg": "no label"}
    assert set(classes_of(label_pictures(names, LabelRules(class_level=0))).values()) == {None}
    for level in (-1, 33):
        with pytest.raises(ConfigError, match=f"--class-level {level} "):
            label_pictures(names, LabelRules(class_level=level))


def test_a_folder_that_cannot_name_a_class_is_refused() -> None:
    found = label_pictures(["=1+1/a.jpg", "ok/b.jpg", f"{'x' * 300}/c.jpg"])
    assert set(classes_of(found)) == {"ok/b.jpg"}
    assert set(why(found).values()) == {"no label"}


def test_too_many_classes_are_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels_module, "MAX_CLASSES", 1)
    with pytest.raises(DataError, match=r"2 classes.*--class-level"):
        label_pictures(["a/x.jpg", "b/x.jpg"])


def test_a_format_that_carries_classes_wins_over_folders() -> None:
    found = label_pictures(["train/0.png", "train/1.png"], own=["7", None])
    assert classes_of(found) == {"train/0.png": "7"}
    assert why(found) == {"train/1.png": "no label"}


def test_a_table_gives_classes_and_groups_and_what_has_no_partner_is_counted() -> None:
    table = read_label_table(b"file,label,group\na.jpg,cat,p1\nb.jpg,dog,p2\ngone.jpg,dog,p3\n", "labels.csv")
    found = label_pictures(["x/a.jpg", "x/b.jpg", "x/new.jpg"], table=table)
    assert found.pictures == (
        LabelledPicture("x/a.jpg", "cat", "p1"),
        LabelledPicture("x/b.jpg", "dog", "p2"),
    )
    assert (found.rows_without_picture, found.pictures_without_row) == (1, 1)
    assert found.refused[0].name == "x/new.jpg"
    assert found.refused[0].detail == "it has no row in labels.csv"


def test_a_table_of_groups_leaves_the_class_to_the_folder() -> None:
    table = read_label_table(b"img,subject\na.jpg,p1\n", "t", Columns("img", None, "subject"))
    found = label_pictures(["cat/a.jpg", "cat/b.jpg"], table=table)
    assert found.pictures == (LabelledPicture("cat/a.jpg", "cat", "p1"),)
    assert why(found) == {"cat/b.jpg": "no group"}


def rows(*paths: str) -> bytes:
    return ("file,label\n" + "".join(f"{path},{path}\n" for path in paths)).encode()


@pytest.mark.parametrize(
    ("names", "paths", "expected", "unused"),
    [
        (["a/b.jpg"], ["a/b.jpg"], {"a/b.jpg": "a/b.jpg"}, 0),
        (["top/a/b.jpg"], ["a/b.jpg", "b.jpg"], {"top/a/b.jpg": "a/b.jpg"}, 1),
        (["b.jpg"], ["data/a/b.jpg"], {"b.jpg": "data/a/b.jpg"}, 0),
        (["x/b.jpg", "y/b.jpg"], ["b.jpg"], {}, 0),
        (["b.jpg", "y/b.jpg"], ["b.jpg"], {"b.jpg": "b.jpg"}, 0),
        (["b.jpg"], ["x/b.jpg", "y/b.jpg"], {}, 0),
        (["x/b.jpg", "y/b.jpg"], ["x/b.jpg", "y/b.jpg", "b.jpg"], {n: n for n in ("x/b.jpg", "y/b.jpg")}, 1),
        (["ab.jpg"], ["b.jpg"], {}, 1),
    ],
)
def test_rows_fit_pictures_with_or_without_leading_folders(
    names: list[str], paths: list[str], expected: dict[str, str], unused: int
) -> None:
    found = match_rows(names, read_label_table(rows(*paths), "t"))
    assert {name: row.label for name, row in found.found.items()} == expected
    assert found.unused == unused
    assert not found.ambiguous & found.found.keys()


def test_a_picture_with_contradicting_rows_is_refused() -> None:
    table = read_label_table(b"file,label\na,x\na,y\nb,x\n", "t")
    assert why(label_pictures(["a", "b"], table=table)) == {"a": "no label"}


def test_a_pattern_gives_groups() -> None:
    names = ["c0/p1_7.jpg", "c0/p22_8.jpg", "c1/other.jpg"]
    found = label_pictures(names, LabelRules(group_pattern="p([0-9]+)_"))
    assert {picture.name: picture.group for picture in found.pictures} == {names[0]: "1", names[1]: "22"}
    assert why(found) == {names[2]: "no group"}
    with pytest.raises(DataError, match="matches none of 3 names"):
        label_pictures(names, LabelRules(group_pattern="(q)"))


def test_a_pattern_is_searched_in_the_whole_name() -> None:
    assert groups_by_pattern(["a/b/c.jpg", "c.jpg"], "^([^/]+)/") == ["a", ""]
    assert groups_by_pattern(["üb/文1.jpg"], "(?:文|x)([0-9])") == ["1"]
    assert groups_by_pattern(["x" * 2000 + "1", "bad\ud800 1", ""], "([0-9])") == ["", "", ""]


@pytest.mark.parametrize("pattern", ["(a+)+b", "(?:(a*)*)*b", "(?:a|a)*(b)", "(?:.*)*(=)"])
def test_a_pattern_that_would_backtrack_for_ever_ends(pattern: str) -> None:
    assert groups_by_pattern(["a" * 1000] * 10, pattern) == [""] * 10


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("", "1 to 256"),
        ("(" + "a" * 300 + ")", "302 characters"),
        ("(a\n)", "printable"),
        ("(", "is no pattern"),
        ("(a))(?:(b", "is no pattern"),
        ("a", "one pair of parentheses"),
        ("(a)(b)", "one pair of parentheses"),
        (r"(a)\1", "back-references"),
        ("(?=a)(b)", "lookaround"),
        ("(?:(?:(?:a{1000}){1000}){1000})(b)", "is no pattern"),
    ],
)
def test_a_pattern_that_gives_no_groups_is_refused(pattern: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_group_pattern(pattern)
