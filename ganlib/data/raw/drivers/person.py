"""The driver: drawn from the far arm to the near one."""

from __future__ import annotations

import math
from collections.abc import Callable

from ganlib.data.raw.drivers.brush import Brush, Colour, Point, arc, shaded
from ganlib.data.raw.drivers.poses import Pose, Thing
from ganlib.data.raw.drivers.subjects import Subject

_Place = Callable[[float, float], Point]
_Shape = Callable[[list[Point], Colour], None]

_MOUTH: Colour = (120, 52, 50)
_WHITE: Colour = (240, 240, 236)


def draw_person(brush: Brush, subject: Subject, pose: Pose, draw_wheel: Callable[[Brush], None]) -> None:
    """Draw the driver, with the things in both hands.

    Args:
        brush: Draws on the car.
        subject: The driver's looks.
        pose: The driver's pose.
        draw_wheel: Draws the steering wheel, which lies between the driver's arms.
    """
    size, lean = subject.size, pose.lean
    near, far = (186 + lean, 250 - 14 * (size - 1)), (252 + lean, 238)
    neck = (214 + lean * 0.9, 196)
    _legs(brush, subject)
    draw_wheel(brush)
    _arm(brush, subject, far, pose.far_elbow, pose.far_hand, 0.86)
    if pose.far_holds is not None:
        _thing(brush, subject, pose.far_holds, pose.far_hand)
    _torso(brush, subject, near, far)
    brush.limb((neck[0], neck[1] + 22), (pose.head[0] - 6, pose.head[1] + 34), 46 * size, 42, subject.skin)
    brush.polygon(
        [(near[0] - 2, near[1] - 30), (neck[0] - 28, 206), (neck[0] + 30, 208), (far[0] + 2, far[1] - 14)],
        subject.shirt,
    )
    _head(brush, subject, pose)
    _arm(brush, subject, near, pose.elbow, pose.hand, 1.0)
    if pose.holds is not None:
        _thing(brush, subject, pose.holds, pose.hand)
        _fingers(brush, subject, pose.hand)


def _legs(brush: Brush, subject: Subject) -> None:
    brush.limb((235, 440), (452, 428), 96, 74, shaded(subject.trousers, 0.8))
    brush.limb((190, 468), (430, 470), 110, 86, subject.trousers)


def _torso(brush: Brush, subject: Subject, near: Point, far: Point) -> None:
    shirt, size = subject.shirt, subject.size
    back, front = near[0] - 58 * size, far[0] + 20 * size
    outline = [
        (back + 12, near[1] - 18), (near[0] - 10, near[1] - 42), (far[0], far[1] - 22), (front, far[1] + 14),
        (front + 14, 330), (262, 470), (110, 470), (back - 8, 340),
    ]  # fmt: skip
    brush.polygon(outline, shaded(shirt, 0.86))
    brush.polygon([(x - 14 if x > 200 else x + 4, y + 2) for x, y in outline], shirt)
    if subject.stripes:
        for y in range(250, 470, 24):
            brush.line([(back + 4, y), (front - 14, y + 6)], 5, shaded(shirt, 0.6))
    for x, y in ((near[0] + 30, 300), (near[0] + 44, 360), (near[0] + 24, 410)):
        brush.line([(x, y), (x + 36, y + 18)], 3, shaded(shirt, 0.78))


def _arm(brush: Brush, subject: Subject, shoulder: Point, elbow: Point, hand: Point, light: float) -> None:
    skin, shirt = shaded(subject.skin, light), shaded(subject.shirt, light * 0.97)
    size = subject.size
    # The hand is at the end of the forearm, with the wrist a little before it.
    brush.limb(elbow, hand, 42 * size, 28, shirt if subject.long_sleeves else skin)
    brush.limb(shoulder, elbow, 62 * size, 48 * size, shirt)
    x, y = hand
    brush.ellipse((x, y), 19, 18, shaded(skin, 0.8))
    brush.ellipse((x, y - 2), 17, 15, skin)


def _fingers(brush: Brush, subject: Subject, hand: Point) -> None:
    for finger in range(4):
        y = hand[1] - 11 + 7 * finger
        brush.limb((hand[0] - 2, y), (hand[0] + 13, y - 2), 7.5, 6.5, subject.skin)


def _thing(brush: Brush, subject: Subject, thing: Thing, hand: Point) -> None:
    x, y = hand
    if thing == "phone":
        corners = [(x - 9, y - 44), (x + 17, y - 40), (x + 10, y + 26), (x - 16, y + 22)]
        brush.polygon([(a + 3, b + 2) for a, b in corners], shaded(subject.phone, 0.5))
        brush.polygon(corners, subject.phone)
        inner = [(x + (a - x) * 0.78, y - 8 + (b - y + 8) * 0.84) for a, b in corners]
        brush.polygon(inner, (150, 196, 236))
    elif thing == "cup":
        brush.polygon([(x - 24, y - 46), (x + 24, y - 38), (x + 15, y + 40), (x - 17, y + 36)], subject.cup)
        brush.polygon(
            [(x + 6, y - 41), (x + 24, y - 38), (x + 15, y + 40), (x + 4, y + 38)], shaded(subject.cup, 0.75)
        )
        brush.polygon([(x - 27, y - 54), (x + 27, y - 46), (x + 25, y - 36), (x - 26, y - 44)], _WHITE)
    else:
        brush.limb((x + 10, y + 8), (x - 44, y + 22), 9, 9, (60, 40, 90))
        brush.limb((x - 22, y + 24), (x - 56, y + 34), 15, 15, (190, 60, 120))


def _head(brush: Brush, subject: Subject, pose: Pose) -> None:
    """The head in its own coordinates: x to the front, y down, about 44 by 58 pixels around its centre."""
    ahead = -1 if pose.facing == "behind" else 1
    cos, sin = math.cos(pose.nod), math.sin(pose.nod)

    def at(x: float, y: float) -> Point:
        x, y = x * cos - y * sin, x * sin + y * cos
        return pose.head[0] + ahead * x * subject.size, pose.head[1] + y * subject.size

    def shape(points: list[Point], colour: Colour) -> None:
        brush.polygon([at(*point) for point in points], colour)

    skin, hair = subject.skin, subject.hair
    front = pose.facing == "camera"
    if subject.style == "long":
        shape([*arc((-8, -10), 50, 58, 170, 340), (30 if front else 4, 70), (-46, 92), (-62, 30)], hair)
    if subject.style == "bun":
        shape(arc((-48, -38), 20, 20, 0, 360), shaded(hair, 0.85))
    shape(arc((0, 0), 46, 58, 0, 360), shaded(skin, 0.84))
    shape(arc((2, -2), 41, 54, 0, 360), skin)
    if front:
        _front_of_face(brush, subject, at, shape)
    else:
        _side_of_face(brush, subject, at, shape)
    if subject.style == "cap":
        shape([*arc((-2, -20), 49, 42, 180, 360), (47, -14), (-50, -14)], subject.cup)
        shape([(30, -26), (76, -20), (76, -13), (30, -13)], shaded(subject.cup, 0.7))
    elif subject.style != "bald":
        crown = [*arc((-3, -14), 48, 50, 175, 350), (34, -30)]
        if front:
            shape([*crown, (0, -38), (-34, -26), (-46, 0)], hair)
        else:
            shape([*crown, (8, -30), (-8, -8), (-18, 12), (-30, 34), (-44, 26)], hair)
        shape(arc((-8, -40), 22, 9, 0, 360), shaded(hair, 1.35))


def _front_of_face(brush: Brush, subject: Subject, at: _Place, shape: _Shape) -> None:
    skin = subject.skin
    if subject.beard:
        shape(arc((2, 22), 36, 34, 0, 180), subject.hair)
    for x in (-14, 20):
        shape(arc((x, -8), 9, 6, 0, 360), _WHITE)
        shape(arc((x + 1, -8), 4.5, 5, 0, 360), (40, 30, 26))
        brush.line([at(x - 10, -20), at(x + 9, -21)], 4, subject.hair)
        if subject.glasses:
            brush.ring(at(x, -7), 15, 12, 3, (30, 30, 34))
    brush.line([at(3, -6), at(6, 12), at(-2, 14)], 4, shaded(skin, 0.72))
    shape(arc((3, 28), 17, 11, 0, 180), _MOUTH)
    shape([(-11, 28), (17, 28), (14, 33), (-8, 33)], _WHITE)


def _side_of_face(brush: Brush, subject: Subject, at: _Place, shape: _Shape) -> None:
    skin = subject.skin
    shape([(36, -14), (58, 10), (50, 16), (36, 18)], skin)
    shape([(40, 12), (58, 10), (50, 16), (38, 18)], shaded(skin, 0.75))
    shape([(30, 24), (46, 26), (44, 34), (46, 40), (34, 54), (10, 54)], skin)
    if subject.beard:
        shape([(-14, 12), (-4, 30), (30, 24), (46, 38), (36, 56), (8, 60), (-14, 44)], subject.hair)
    brush.line([at(30, 31), at(46, 31)], 4.5, _MOUTH)
    shape(arc((27, -9), 8, 5, 0, 360), _WHITE)
    shape(arc((30, -9), 4, 4.5, 0, 360), (40, 30, 26))
    brush.line([at(18, -20), at(38, -21)], 4, subject.hair)
    if subject.glasses:
        brush.ring(at(28, -8), 13, 11, 3, (30, 30, 34))
        brush.line([at(16, -9), at(-14, -6)], 3, (30, 30, 34))
    shape(arc((-14, 4), 9, 14, 0, 360), shaded(skin, 0.82))
    shape(arc((-13, 4), 5, 9, 0, 360), shaded(skin, 0.66))
