"""The drivers: how each looks, the car and the light, all from a seed and the subject's name."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from ganlib.data.raw.drivers.brush import Camera, Colour

SUBJECT_PICTURES = {
    "p002": 725, "p012": 823, "p014": 876, "p015": 875, "p016": 1078, "p021": 1237, "p022": 1233,
    "p024": 1226, "p026": 1196, "p035": 848, "p039": 651, "p041": 605, "p042": 591, "p045": 724,
    "p047": 835, "p049": 1011, "p050": 790, "p051": 920, "p052": 740, "p056": 794, "p061": 809,
    "p064": 820, "p066": 1034, "p072": 346, "p075": 814, "p081": 823,
}  # fmt: skip
"""The 26 subjects with their numbers of pictures in the State Farm archive, 22,424 in all."""

_SKINS: Sequence[Colour] = (
    (246, 214, 190), (232, 190, 160), (222, 172, 136), (198, 146, 108), (168, 116, 80),
    (130, 86, 58), (96, 64, 46),
)  # fmt: skip
_HAIRS: Sequence[Colour] = (
    (28, 22, 20), (58, 40, 28), (96, 62, 36), (150, 104, 56), (206, 170, 108), (128, 128, 130), (140, 62, 34),
)  # fmt: skip

HairStyle = Literal["short", "long", "bun", "bald", "cap"]


class Subject(NamedTuple):
    """A driver, the car and the light."""

    skin: Colour
    hair: Colour
    style: HairStyle
    beard: bool
    glasses: bool
    shirt: Colour
    stripes: bool
    long_sleeves: bool
    trousers: Colour
    size: float
    """Scale of the body, about 1."""
    seat: Colour
    interior: Colour
    sky: Colour
    ground: Colour
    phone: Colour
    cup: Colour
    light: tuple[float, float, float]
    """Brightness of red, green and blue, about 1."""
    side_light: float
    """How much brighter the window's side is, 0 to 1."""
    noise: float
    """Standard deviation of the sensor's noise, in levels."""
    camera: Camera


def random_for(seed: int, *what: str | int) -> np.random.Generator:
    """A generator of random numbers for one purpose; equal arguments give equal numbers."""
    text = "/".join(map(str, ("drivers", seed, *what)))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def draw_subject(seed: int, name: str) -> Subject:
    """The subject of a name."""
    random = random_for(seed, "subject", name)

    def colour(
        saturation: tuple[float, float], value: tuple[float, float], hue: tuple[float, float] = (0, 1)
    ) -> Colour:
        red, green, blue = colorsys.hsv_to_rgb(
            random.uniform(*hue), random.uniform(*saturation), random.uniform(*value)
        )
        return round(255 * red), round(255 * green), round(255 * blue)

    styles: Sequence[HairStyle] = ("short", "short", "long", "long", "bun", "bald", "cap")
    style = styles[int(random.integers(len(styles)))]
    skin = _SKINS[int(random.integers(len(_SKINS)))]
    dark = sum(skin) < 400
    brightness, warmth = random.uniform(0.82, 1.12), random.uniform(-0.07, 0.07)
    return Subject(
        skin=skin,
        hair=_HAIRS[int(random.integers(2 if dark else len(_HAIRS)))],
        style=style,
        beard=style not in ("long", "bun") and random.uniform() < 0.4,
        glasses=random.uniform() < 0.3,
        shirt=colour((0.1, 0.85), (0.3, 0.95)),
        stripes=random.uniform() < 0.25,
        long_sleeves=random.uniform() < 0.45,
        trousers=colour((0.1, 0.5), (0.15, 0.5)),
        size=random.uniform(0.93, 1.07),
        seat=colour((0.0, 0.25), (0.16, 0.5)),
        interior=colour((0.0, 0.2), (0.14, 0.34)),
        sky=colour((0.05, 0.3), (0.8, 1.0), (0.5, 0.65)),
        ground=colour((0.15, 0.5), (0.35, 0.65), (0.06, 0.4)),
        phone=colour((0.0, 0.3), (0.05, 0.25)),
        cup=colour((0.3, 0.9), (0.75, 1.0)),
        light=(brightness * (1 + warmth), brightness, brightness * (1 - warmth)),
        side_light=random.uniform(0.1, 0.6),
        noise=random.uniform(1.5, 5.0),
        camera=Camera(
            random.uniform(0.96, 1.1),
            random.uniform(-0.04, 0.04),
            random.uniform(-14, 14),
            random.uniform(-10, 10),
        ),
    )
