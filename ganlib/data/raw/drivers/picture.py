"""One drawn picture: a frame of a subject's video of a class, as the bytes of a JPEG file."""

from __future__ import annotations

import io
import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from ganlib.data.raw.drivers.brush import HEIGHT, MARGIN, OVERSAMPLED, WIDTH, Brush
from ganlib.data.raw.drivers.cabin import Cabin
from ganlib.data.raw.drivers.person import draw_person
from ganlib.data.raw.drivers.poses import pose_at
from ganlib.data.raw.drivers.subjects import Subject, draw_subject, random_for

_QUALITIES = (70, 94)
_NOISE_ROOM = 64


def draw_picture(seed: int, name: str, label: int, frame: int) -> bytes:
    """Draw a picture.

    Args:
        seed: Of the dataset; equal arguments give equal bytes with one version of Pillow.
        name: Name of the subject.
        label: Class, 0 to 9.
        frame: Number of the frame in the subject's video of this class, from 0; frames that follow one
            another are near duplicates.

    Returns:
        A JPEG file of 640×480 pixels.
    """
    subject, cabin = _car(seed, name)
    random = random_for(seed, "frame", name, label, frame)
    pose = pose_at(seed, name, label, frame)
    speed = random_for(seed, "speed", name, label).uniform(0.5, 3)
    image = cabin.image_at(97 * label + speed * frame)
    brush = Brush(image, subject.camera)
    if pose.mirror:
        cabin.draw_mirror(brush)
    draw_person(brush, subject, pose, cabin.draw_wheel)
    shake = [MARGIN + 4 * math.sin(frame / period + label) + random.normal(0, 0.5) for period in (19, 13)]
    left, top = (round(OVERSAMPLED * min(max(pixels, 0), 2 * MARGIN)) for pixels in shake)
    seen = image.crop((left, top, left + OVERSAMPLED * WIDTH, top + OVERSAMPLED * HEIGHT)).reduce(OVERSAMPLED)
    flicker = 1 + 0.06 * math.sin(frame / 29 + label) + random.normal(0, 0.012)
    lit = ImageChops.multiply(seen, _light_field(subject)).point(_light_table(subject, flicker))
    noisy = ImageChops.add(lit, _noise(seed, round(subject.noise), random), 1, -128)
    file = io.BytesIO()
    noisy.save(file, "JPEG", quality=int(random.integers(*_QUALITIES)))
    return file.getvalue()


@lru_cache(maxsize=4)
def _car(seed: int, name: str) -> tuple[Subject, Cabin]:
    subject = draw_subject(seed, name)
    return subject, Cabin(seed, name, subject)


@lru_cache(maxsize=4)
def _light_field(subject: Subject) -> Image.Image:
    """Share of the light at each pixel: most before the windows, less below and at the corners."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / HEIGHT
    window = np.exp(-((x - 0.75) ** 2 / 0.5 + (y - 0.1) ** 2 / 0.4))
    corners = (x - 0.67) ** 2 / 0.9 + (y - 0.5) ** 2
    left = np.clip(0.98 - subject.side_light * 0.6 * (1 - window) - 0.45 * corners, 0.2, 1)
    return Image.fromarray((255 * left).astype(np.uint8)).convert("RGB")


def _light_table(subject: Subject, flicker: float) -> list[int]:
    # The field only takes light away, so the whole is raised again.
    raised = 1.12 + 0.25 * subject.side_light
    levels = np.arange(256)
    tables = [np.clip(np.rint(levels * part * flicker * raised), 0, 255) for part in subject.light]
    return [int(level) for table in tables for level in table]


def _noise(seed: int, deviation: int, random: np.random.Generator) -> Image.Image:
    whole = _noise_field(seed, deviation)
    left, top = (int(start) for start in random.integers(0, _NOISE_ROOM, 2))
    return whole.crop((left, top, left + WIDTH, top + HEIGHT))


@lru_cache(maxsize=8)
def _noise_field(seed: int, deviation: int) -> Image.Image:
    """Noise around 128, larger than a picture, of which each takes some part."""
    shape = (HEIGHT + _NOISE_ROOM, WIDTH + _NOISE_ROOM, 3)
    values = random_for(seed, "noise", deviation).normal(128, deviation, shape)
    field = Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    return field.filter(ImageFilter.BoxBlur(0.4))
