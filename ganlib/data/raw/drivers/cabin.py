"""The car around a driver: windows with what passes behind them, seat, door, dashboard, radio and wheel."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFilter

from ganlib.data.raw.drivers.brush import HEIGHT, MARGIN, OVERSAMPLED, WIDTH, Brush, Point, shaded
from ganlib.data.raw.drivers.subjects import Subject, random_for

DRAWN_SIZE = ((WIDTH + 2 * MARGIN) * OVERSAMPLED, (HEIGHT + 2 * MARGIN) * OVERSAMPLED)
"""Size of the image that is drawn on: oversampled, with the margin."""

_STRIP = 4 * WIDTH

_SIDE_WINDOW: tuple[Point, ...] = ((70, 62), (330, 30), (404, 60), (396, 236), (150, 246), (62, 216))
_WINDSHIELD: tuple[Point, ...] = ((428, 40), (680, -20), (680, 206), (470, 232), (424, 214))
_WHEEL: Point = (432, 290)


class Cabin:
    """A subject's car.

    Args:
        seed: Of the dataset.
        name: Name of the subject.
        subject: Its looks.
    """

    def __init__(self, seed: int, name: str, subject: Subject) -> None:
        self._subject = subject
        self._inside = Image.new("RGB", DRAWN_SIZE, shaded(subject.interior, 0.9))
        self._windows = Image.new("L", DRAWN_SIZE)
        self._draw_inside()
        bounds = self._windows.getbbox()
        assert bounds is not None
        self._bounds = bounds
        self._windows = self._windows.crop(bounds)
        self._strip = _draw_strip(seed, name, subject, bounds[3] - bounds[1])

    def image_at(self, place: float) -> Image.Image:
        """The car without driver and wheel, as a new image of :data:`DRAWN_SIZE`.

        Args:
            place: What passes behind the windows is ``place`` pixels further; it repeats.
        """
        image = self._inside.copy()
        width = self._bounds[2] - self._bounds[0]
        start = int(place * OVERSAMPLED) % (self._strip.width - width)
        seen = self._strip.crop((start, 0, start + width, self._strip.height))
        image.paste(seen, self._bounds[:2], self._windows)
        return image

    def draw_wheel(self, brush: Brush) -> None:
        """Draw the steering wheel, which is before the far arm and behind the near one."""
        dark = shaded(self._subject.interior, 0.35)
        x, y = _WHEEL
        brush.polygon([(x + 6, y - 22), (x + 120, y + 10), (x + 120, y + 44), (x + 6, y + 26)], dark)
        brush.ring((x + 3, y + 3), 44, 98, 15, shaded(self._subject.interior, 0.25), 0.2)
        brush.ring(_WHEEL, 44, 98, 13, dark, 0.2)
        brush.ring((x - 3, y - 2), 44, 98, 3, shaded(self._subject.interior, 1.3), 0.2)
        brush.line([(x - 24, y + 70), (x, y), (x + 22, y - 76)], 12, dark)
        brush.ellipse(_WHEEL, 18, 34, shaded(self._subject.interior, 0.55), 0.2)

    def draw_mirror(self, brush: Brush) -> None:
        """Draw the sun visor, turned down, with its mirror lit."""
        brush.polygon([(300, 4), (452, 0), (456, 82), (306, 88)], shaded(self._subject.interior, 1.9))
        brush.polygon([(326, 20), (434, 16), (436, 68), (330, 72)], (238, 236, 214))

    def _draw_inside(self) -> None:
        subject, inner = self._subject, self._subject.interior
        brush = Brush(self._inside, subject.camera)
        glass = ImageDraw.Draw(self._windows)
        brush.polygon([(-60, -60), (720, -60), (720, 30), (420, 40), (60, 62), (-60, 90)], shaded(inner, 1.5))
        brush.polygon([(-60, 210), (160, 240), (400, 232), (420, 520), (-60, 520)], shaded(inner, 1.25))
        brush.polygon([(120, 300), (400, 292), (404, 316), (120, 326)], shaded(inner, 0.7))
        brush.polygon([(396, 224), (700, 190), (700, 520), (396, 520)], shaded(inner, 0.62))
        brush.polygon([(396, 224), (700, 190), (700, 214), (400, 250)], shaded(inner, 1.1))
        for window in (_SIDE_WINDOW, _WINDSHIELD):
            grown = [(x + (8 if x > 300 else -8), y + (8 if y > 140 else -8)) for x, y in window]
            brush.polygon(grown, shaded(inner, 0.5))
            glass.polygon([brush.place(point) for point in window], fill=255)
        self._draw_radio(brush)
        self._draw_seat(brush)

    def _draw_radio(self, brush: Brush) -> None:
        inner = self._subject.interior
        brush.polygon([(536, 266), (680, 254), (680, 500), (556, 500)], shaded(inner, 0.42))
        brush.polygon([(552, 280), (650, 272), (650, 330), (556, 336)], (60, 120, 150))
        brush.polygon([(560, 287), (642, 280), (642, 302), (562, 308)], (150, 214, 220))
        for x in (574, 606, 638):
            brush.ellipse((x, 360), 12, 12, shaded(inner, 1.6))
            brush.ellipse((x, 360), 7, 7, shaded(inner, 0.8))

    def _draw_seat(self, brush: Brush) -> None:
        seat = self._subject.seat
        brush.limb((96, 500), (98, 240), 190, 140, seat)
        brush.limb((112, 156), (118, 96), 96, 84, shaded(seat, 0.92))
        brush.line([(128, 176), (128, 206)], 10, shaded(seat, 0.6))
        brush.line([(62, 480), (66, 262)], 4, shaded(seat, 0.7))


def _draw_strip(seed: int, name: str, subject: Subject, height: int) -> Image.Image:
    """A blurred landscape that is passed by, as high as the windows; its end continues at its beginning."""
    random = random_for(seed, "landscape", name)
    small = Image.new("RGB", (_STRIP // 4, height // 8 + 1), subject.sky)
    draw = ImageDraw.Draw(small)
    horizon = int(small.height * random.uniform(0.5, 0.75))
    for y in range(horizon):
        draw.line([(0, y), (small.width, y)], fill=shaded(subject.sky, 0.88 + 0.2 * y / horizon))
    draw.rectangle((0, horizon, small.width, small.height), fill=subject.ground)
    for _ in range(40):
        x, width, rise = int(random.integers(small.width)), random.uniform(10, 50), random.uniform(4, 26)
        tone = shaded(subject.ground, random.uniform(0.5, 1.3))
        is_round = random.uniform() < 0.5
        # Twice, so that what is cut off at one end goes on at the other.
        for left in (x, x - small.width):
            box = (left, horizon - rise, left + width, horizon + 6)
            if is_round:
                draw.ellipse(box, fill=tone)
            else:
                draw.rectangle(box, fill=tone)
    road = shaded(subject.ground, 0.7)
    draw.rectangle((0, int(small.height * 0.9), small.width, small.height), fill=road)
    blurred = small.filter(ImageFilter.GaussianBlur(2))
    return blurred.resize((_STRIP * OVERSAMPLED, height), Image.Resampling.BICUBIC)
