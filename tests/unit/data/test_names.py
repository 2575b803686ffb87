"""Names and labels from archives, whatever they are: properties of what is accepted."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ganlib.data.formats.entries import MAX_LABEL, MAX_NAME_BYTES, BadName, check_label, check_name

# Parts that matter on some system or in Unicode, beside anything else.
PARTS = st.one_of(
    st.sampled_from(
        [
            "..",
            ".",
            "",
            "c:",
            "C:",
            "~",
            "a",
            "ü",
            "u\u0308",
            "\u212b",
            "\u2126",
            "．．",
            "CON",
            "a:b",
            " ",
            ".. ",
        ]
    ),
    st.text(st.characters(), max_size=8),
)
NAMES = st.one_of(
    st.text(st.characters(), max_size=60),
    st.builds(
        lambda parts, separators: "".join(a + b for a, b in zip(parts, separators, strict=False)),
        st.lists(PARTS, min_size=1, max_size=6),
        st.lists(st.sampled_from(["/", "\\", "//", ""]), min_size=6, max_size=6),
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inside").resolve()


@given(name=NAMES)
@settings(max_examples=400, deadline=None)
@example(name="a/\u212b.png")
@example(name="C:x.png")
@example(name="a/c:/x.png")
@example(name="ü" * 600)
@example(name="\ud800")
def test_an_accepted_name_stays_inside_of_a_folder(name: str, folder: Path) -> None:
    try:
        made = check_name(name)
    except BadName:
        return
    assert check_name(made) == made
    assert unicodedata.is_normalized("NFC", made)
    assert len(made.encode()) <= MAX_NAME_BYTES
    assert (folder / made).resolve().is_relative_to(folder)
    assert (folder / made).resolve() != folder
    assert PurePosixPath(made).as_posix() == made
    assert not re.match("[A-Za-z]:", made)
    # To Python, 9:30.jpg begins with a drive too; Windows has none of that name.
    windows = PureWindowsPath("D:/inside")
    assert (windows / made.replace(":", "_", 1)).is_relative_to(windows)
    assert not {"..", "."} & set(made.split("/"))
    assert not [character for character in made if unicodedata.category(character) in ("Cc", "Cs")]


@given(name=st.from_regex(r"[a-zü0-9_]{1,20}(/[a-zü0-9_.]{0,5}[a-z]){0,3}", fullmatch=True))
@settings(max_examples=100, deadline=None)
def test_a_plain_name_is_accepted_as_it_is(name: str) -> None:
    assert check_name(name) == unicodedata.normalize("NFC", name)
    assert check_name(name.replace("/", "\\")) == check_name(name)


@given(label=st.one_of(st.text(st.characters(), max_size=40), st.text("u\u0308 \n", max_size=1000)))
@settings(max_examples=400, deadline=None)
@example(label=" u\u0308 ")
@example(label="\u0308 a")
@example(label="x" * MAX_LABEL + " " * 5000)
@example(label="a\u2028b")
@example(label="\u0958" * 150)
@example(label="\ufb1d" * (MAX_LABEL // 2 + 1))
def test_an_accepted_label_is_one_line_of_composed_text(label: str) -> None:
    try:
        made = check_label(label)
    except BadName:
        return
    assert check_label(made) == made
    assert unicodedata.is_normalized("NFC", made)
    assert 1 <= len(made) <= MAX_LABEL
    assert made == made.strip()
    assert len(made.splitlines()) == 1
    assert made.isprintable() or not [c for c in made if unicodedata.category(c) in ("Cc", "Cs")]


@given(label=st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=60))
@settings(max_examples=100, deadline=None)
def test_a_printable_label_is_accepted(label: str) -> None:
    assert check_label(f" {label} ") == unicodedata.normalize("NFC", label)
