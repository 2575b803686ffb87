"""A contact sheet: a few pictures of each class of a dataset version, as one PNG."""

from __future__ import annotations

import functools
import importlib.util
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganlib.data.shard_reader import OpenShard
from ganlib.data.sheet_pictures import ClassPictures, Counts, Picture, choose_pictures
from ganlib.records import DatasetVersion, Split

MOST_CLASSES = 40
"""Classes on a sheet; below them stands how many there are."""

PICTURES: dict[Split, int] = {"train": 10, "held_out": 4}
"""Pictures of a class, by split."""

ROWS_WITHOUT_CLASSES = 5
"""Rows of a sheet of pictures that have no classes."""

SMALLEST, LARGEST = 56, 96
"""Pixels of a picture's side on the sheet: smaller ones are enlarged by whole numbers, larger ones scaled."""

_NAMES = {"train": "to train on", "held_out": "held out"}
_MARGIN, _GAP, _BETWEEN_SPLITS = 16, 4, 24
_NAME_WIDTH, _TITLE_HEIGHT, _HEAD_HEIGHT, _FOOT_HEIGHT = 210, 30, 24, 26
_PAPER, _INK, _PALE = (255, 255, 255), (20, 20, 20), (110, 110, 110)


def contact_sheet(version: DatasetVersion, open_shard: OpenShard, counts: Counts | None = None) -> bytes:
    """A row for each of the first :data:`MOST_CLASSES` classes: name, counts, and pictures of both splits.

    The same version gives the same sheet. Memory and reads are bounded as in
    :func:`~ganlib.data.sheet_pictures.choose_pictures`.

    Args:
        version: The version.
        open_shard: Gives the bytes of its shards (:mod:`ganlib.data.shard_reader`).
        counts: Pictures of each class by split, where they are known; they spare reads.

    Returns:
        A PNG, RGB, about 1,300 pixels wide.

    Raises:
        DataError: A shard is gone or damaged.
    """
    rows = _rows(version, open_shard, counts)
    buffer = io.BytesIO()
    # Photographs become hardly smaller on higher levels, which take four times as long.
    _draw(version, rows).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _rows(version: DatasetVersion, open_shard: OpenShard, counts: Counts | None) -> list[ClassPictures]:
    """The rows of the sheet: one for each class; without classes several, numbered from 0."""
    if version.classes:
        labels = range(min(len(version.classes), MOST_CLASSES))
        return choose_pictures(version, open_shard, PICTURES, labels, counts)
    wanted = {split: ROWS_WITHOUT_CLASSES * number for split, number in PICTURES.items()}
    (all_of_it,) = choose_pictures(version, open_shard, wanted, [0], counts)
    rows = []
    for index in range(ROWS_WITHOUT_CLASSES):
        parts = {
            split: all_of_it.chosen.get(split, [])[index * number : (index + 1) * number]
            for split, number in PICTURES.items()
        }
        if index == 0 or any(parts.values()):
            rows.append(replace(all_of_it, label=index, chosen=parts))
    return rows


def _draw(version: DatasetVersion, rows: list[ClassPictures]) -> Image.Image:
    cell = _cell_side(version.image_shape)
    lefts, left = dict[Split, int](), _MARGIN + _NAME_WIDTH
    for split, number in PICTURES.items():
        lefts[split] = left
        left += number * (cell + _GAP) + _BETWEEN_SPLITS
    top = _MARGIN + _TITLE_HEIGHT + _HEAD_HEIGHT
    left_out = len(version.classes) - len(rows)
    height = top + len(rows) * (cell + _GAP) + (_FOOT_HEIGHT if left_out > 0 else 0) + _MARGIN
    sheet = Image.new("RGB", (left - _BETWEEN_SPLITS + _MARGIN, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_MARGIN, _MARGIN), _title(version), 16, _INK, sheet.width - 2 * _MARGIN)
    for split, left in lefts.items():
        _write(draw, (left, _MARGIN + _TITLE_HEIGHT), _NAMES[split], 13, _PALE, 300)
    for row in rows:
        _draw_row(sheet, draw, row, version, (top, cell), lefts)
        top += cell + _GAP
    if left_out > 0:
        text = f"{left_out:,} more of {len(version.classes):,} classes are not shown"
        _write(draw, (_MARGIN, top + 6), text, 13, _PALE, sheet.width - 2 * _MARGIN)
    return sheet


def _draw_row(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    row: ClassPictures,
    version: DatasetVersion,
    place: tuple[int, int],
    lefts: dict[Split, int],
) -> None:
    top, cell = place
    if version.classes or row.label == 0:
        name = version.classes[row.label] if version.classes else "no classes"
        counts = f"{row.counts['train']:,} + {row.counts['held_out']:,} held out"
        middle, room = top + cell // 2, _NAME_WIDTH - 12
        _write(draw, (_MARGIN, middle - 20), name, 15, _INK, room)
        # The label stands beside the counts: the font has not the characters of every alphabet.
        number = f"label {row.label}: " if version.classes else ""
        _write(draw, (_MARGIN, middle + 2), number + counts, 12, _PALE, room)
    for split, left in lefts.items():
        for index, picture in enumerate(row.chosen.get(split, [])):
            small = _fit(picture, cell)
            # In the middle of its cell, when it is not square.
            x = left + index * (cell + _GAP) + (cell - small.width) // 2
            sheet.paste(small, (x, top + (cell - small.height) // 2))


def _cell_side(shape: tuple[int, int, int]) -> int:
    """Side of a picture's cell on the sheet, in pixels."""
    side = max(shape[1:])
    return min(side * max(1, -(-SMALLEST // side)), LARGEST)


def _fit(picture: Picture, cell: int) -> Image.Image:
    """A picture as large as its cell; small ones in clear squares, since they are to be judged by pixel."""
    channels, height, width = picture.shape
    image = Image.fromarray(picture[0] if channels == 1 else np.ascontiguousarray(picture.transpose(1, 2, 0)))
    factor = cell / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    how = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS
    return image.convert("RGB").resize(size, how)


def _title(version: DatasetVersion) -> str:
    channels, height, width = version.image_shape
    colour = "grey" if channels == 1 else "colour"
    train, held_out = version.count("train"), version.count("held_out")
    return (
        f"{version.name}   version {version.digest[:12]}   {width} × {height} {colour}   "
        f"{train:,} to train on, {held_out:,} held out"
    )


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, ink: tuple[int, ...], room: int
) -> None:
    """Write a line, cut where it is wider than ``room`` pixels."""
    font, shown = _font(size), text
    if draw.textlength(shown, font) > room:
        while text and draw.textlength(f"{text}…", font) > room:
            text = text[:-1]
        shown = f"{text}…"
    draw.text(place, shown, ink, font)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu as matplotlib brings it, since it knows more alphabets; otherwise Pillow's own."""
    # Found and not imported: importing matplotlib would take a training's start half a second.
    found = importlib.util.find_spec("matplotlib")
    for folder in (found and found.submodule_search_locations) or ():
        file = Path(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
        if file.is_file():
            return ImageFont.truetype(str(file), size)
    return ImageFont.load_default(size)
