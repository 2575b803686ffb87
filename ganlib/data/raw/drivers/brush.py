"""Drawing of shaded shapes in the coordinates of a 640×480 picture, at twice its size, seen by a camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

WIDTH, HEIGHT = 640, 480
"""Size of a picture, in pixels."""

OVERSAMPLED = 2
"""Pixels are drawn this many times finer and averaged, so that edges are smooth."""

MARGIN = 12
"""Pixels around a picture that are drawn as well, so that the camera can shake."""


class Camera(NamedTuple):
    """Where a picture is seen from."""

    zoom: float = 1.0
    turn: float = 0.0
    """Radians."""
    x: float = 0.0
    y: float = 0.0
    """Shift, in pixels."""


def shaded(colour: Colour, factor: float) -> Colour:
    """A colour made darker (below 1) or lighter (above 1)."""
    red, green, blue = (max(0, min(255, round(value * factor))) for value in colour)
    return red, green, blue


class Brush:
    """Draws on an oversampled image.

    Args:
        image: RGB image of the oversampled size, with the margin.
        camera: Where the scene is seen from.
    """

    def __init__(self, image: Image.Image, camera: Camera) -> None:
        self._draw = ImageDraw.Draw(image)
        self._camera = camera
        self._cos = math.cos(camera.turn) * camera.zoom * OVERSAMPLED
        self._sin = math.sin(camera.turn) * camera.zoom * OVERSAMPLED

    def place(self, point: Point) -> Point:
        """Where a point of the scene lies in the image, in oversampled pixels."""
        x, y = point[0] - WIDTH / 2, point[1] - HEIGHT / 2
        return (
            x * self._cos - y * self._sin + (WIDTH / 2 + MARGIN + self._camera.x) * OVERSAMPLED,
            x * self._sin + y * self._cos + (HEIGHT / 2 + MARGIN + self._camera.y) * OVERSAMPLED,
        )

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """A filled polygon."""
        self._draw.polygon([self.place(point) for point in points], fill=colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """A line through points, of a width in pixels."""
        whole = max(1, round(width * self._camera.zoom * OVERSAMPLED))
        self._draw.line([self.place(point) for point in points], fill=colour, width=whole, joint="curve")

    def ellipse(self, centre: Point, rx: float, ry: float, colour: Colour, turn: float = 0.0) -> None:
        """A filled ellipse, turned by radians."""
        self.polygon(arc(centre, rx, ry, 0, 360, turn), colour)

    def ring(
        self, centre: Point, rx: float, ry: float, width: float, colour: Colour, turn: float = 0.0
    ) -> None:
        """An ellipse's outline."""
        points = arc(centre, rx, ry, 0, 360, turn, steps=48)
        self.line([*points, points[0], points[1]], width, colour)

    def limb(self, start: Point, end: Point, width: float, end_width: float, colour: Colour) -> None:
        """A rounded, tapered and shaded limb; light comes from above."""
        (x0, y0), (x1, y1) = start, end
        length = math.hypot(x1 - x0, y1 - y0) or 1.0
        across = ((y0 - y1) / length, (x1 - x0) / length)
        if across[1] > 0:
            across = (-across[0], -across[1])
        for raised, share, factor in ((0.0, 1.0, 0.72), (0.08, 0.84, 1.0), (0.2, 0.4, 1.12)):
            tone = shaded(colour, factor)
            upper: list[Point] = []
            lower: list[Point] = []
            for (x, y), full in ((start, width), (end, end_width)):
                x, y, radius = x + across[0] * raised * full, y + across[1] * raised * full, full * share / 2
                self.ellipse((x, y), radius, radius, tone)
                upper.append((x + across[0] * radius, y + across[1] * radius))
                lower.append((x - across[0] * radius, y - across[1] * radius))
            self.polygon([*upper, *reversed(lower)], tone)


def arc(
    centre: Point, rx: float, ry: float, start: float, end: float, turn: float = 0.0, steps: int = 28
) -> list[Point]:
    """Points of an ellipse between two angles in degrees, 0 to the right and 90 below."""
    cos, sin = math.cos(turn), math.sin(turn)
    points: list[Point] = []
    for step in range(steps + 1):
        angle = math.radians(start + (end - start) * step / steps)
        x, y = rx * math.cos(angle), ry * math.sin(angle)
        points.append((centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos))
    return points
